// Clients that walk in circles, for the tests and to look at the page by hand:
//   node --experimental-websocket crowd.mjs ws://127.0.0.1:8080/v1 40

const NAMES = ["Ada", "Béla", "Chidi", "Dana", "Eve", "Farid", "Greta", "Hana", "Iris", "João", "Kofi", "Lena"];

/** Opens so many clients around a place. Each calls `heard(name, message, i)` with what it is told. */
export function crowd(url, count, { x = 32, z = 0, heard = () => {} } = {}) {
  const sockets = Array.from({ length: count }, (_, i) => open(url, i, x, z, heard));
  return { close: () => sockets.forEach((end) => end()) };
}

function open(url, i, x, z, heard) {
  const socket = new WebSocket(url, "nearcast.v1.json");
  const say = (name, fields) => socket.send(JSON.stringify({ [name]: fields }));
  const [middle, radius] = [[x + 28 * Math.cos(i * 2.4) * Math.sqrt(i / 40), z + 28 * Math.sin(i * 2.4) * Math.sqrt(i / 40)], 2 + (i % 7)];
  let [angle, timer] = [i, undefined];
  const walk = () => {
    angle += ((i % 2 ? 1 : -1) * 1.4 * 0.05) / radius; // 1.4 m/s
    const pos = [middle[0] + radius * Math.cos(angle), 0, middle[1] + radius * Math.sin(angle)];
    say("move", { time: performance.now(), pos, yaw: (-angle * 180) / Math.PI + (i % 2 ? -90 : 90) });
  };
  socket.onopen = () => {
    say("hello", { world: "plaza", profile: `${NAMES[i % NAMES.length]}${i < NAMES.length ? "" : ` ${i}`}` });
    timer = setInterval(walk, 50);
  };
  socket.onmessage = ({ data }) => {
    const [[name, message]] = Object.entries(JSON.parse(data));
    if (name === "state") say("seen", { seen: message.number });
    heard(name, message, i);
  };
  socket.onclose = () => clearInterval(timer);
  return () => socket.close();
}

if (process.argv[1] === new URL(import.meta.url).pathname) crowd(process.argv[2], Number(process.argv[3] ?? 40));
