import { connect } from "@nearcast/client";

const world = await connect(globalThis.process?.argv[2] ?? "ws://127.0.0.1:8080/v1", { world: "plaza", profile: "Ann" });
world.on("enter", ({ profile }) => console.log(profile, "came"));
world.on("leave", ({ profile }) => console.log(profile, "went"));
world.on("event", ({ from, name, mine }) => console.log(mine ? "I" : (world.avatar(from)?.profile ?? "somebody"), name));
setInterval(() => world.move([32 + 5 * Math.cos(performance.now() / 5_000), 0, 5 * Math.sin(performance.now() / 5_000)]), 50);
setInterval(() => {
  const moment = world.moment();
  for (const avatar of world.avatars()) console.log(avatar.profile, "is at", world.draw(avatar, moment));
}, 1_000);
console.log("waved:", await world.act("wave"));
