// Walks in a circle and lists who is near. Node 22: `node client.mjs`; or paste it into a browser's console.
const socket = new WebSocket(globalThis.process?.argv[2] ?? "ws://127.0.0.1:8080/v1");
const say = (name, fields) => socket.send(JSON.stringify({ [name]: fields }));
const near = new Map(); // slot → who is there
const timers = [];
socket.onopen = () => say("hello", { world: "plaza", profile: "Ann" });
socket.onmessage = ({ data }) => {
  const [[name, message]] = Object.entries(JSON.parse(data));
  if (name === "welcome") timers.push(setInterval(walk, 50), setInterval(list, 1_000));
  if (name !== "state") return console.log(name, message);
  say("seen", { seen: message.number });
  if (message.full_begin) near.clear();
  for (const [slot] of message.leave ?? []) near.delete(slot);
  for (const [slot, , x, y, z, , , , id, profile] of message.enter ?? []) near.set(slot, { id, profile, x, y, z });
  for (const [slot, , x, y, z] of message.update ?? []) Object.assign(near.get(slot), { x, y, z });
};
socket.onclose = ({ code }) => {
  timers.forEach(clearInterval);
  console.log("closed", code); // 4000: come back
};
socket.onerror = () => console.log("lost, or nobody is there");
const list = () => console.log("near:", [...near.values()]);
function walk() {
  const angle = performance.now() / 5_000; // 10 m around (32, 0), 2 m/s
  const pos = [32 + 10 * Math.cos(angle), 0, 10 * Math.sin(angle)];
  say("move", { time: performance.now(), pos, yaw: -90 - (angle * 180) / Math.PI });
}
