// What the servers share: the gateway's words on the command line, the tick, and who is near whom.
import { createServer } from 'node:http';
import { parseArgs } from 'node:util';

export const RADIUS_M = 50;
export const TICK_MS = 50;
/** Units of a coordinate in a metre, where coordinates are int16. */
export const UNITS_PER_M = 32;

/** Where clients connect, and where the load test asks for metrics: `serve --listen HOST:PORT --admin HOST:PORT`. */
export function places() {
  const options = { listen: { type: 'string' }, admin: { type: 'string' } };
  const { values, positionals } = parseArgs({ options, allowPositionals: true });
  if (positionals[0] !== 'serve' || !values.listen || !values.admin) {
    throw new Error('say: serve --listen HOST:PORT --admin HOST:PORT');
  }
  const [listen, admin] = [values.listen, values.admin].map((text) => {
    const [host, port] = text.split(':');
    return { host, port: Number(port) };
  });
  return { listen, admin };
}

/** Opens the page of metrics, which is empty, and says that all is ready. `bound` is where clients connect. */
export function ready(bound, admin) {
  const page = createServer((_, response) => response.end());
  page.listen(admin.port, admin.host, () => {
    const text = ({ address, port }) => `${address}:${port}`;
    console.log(`ready listen=${text(bound)} admin=${text(page.address())}`);
  });
}

/** Calls every 50 ms. `setInterval` would count from when it last ran, and lose a tick every few seconds. */
export function everyTick(tick) {
  let next = performance.now() + TICK_MS;
  const turn = () => {
    next += TICK_MS;
    tick();
    setTimeout(turn, next - performance.now());
  };
  setTimeout(turn, TICK_MS);
}

/** Players (with x, y, z) by cells as wide as the radius: those near one are in its cell or in the eight around it. */
export class Grid {
  #cells = new Map();

  constructor(players, radius) {
    this.radius = radius;
    for (const player of players) {
      const key = this.#key(player.x, player.z);
      const cell = this.#cells.get(key);
      if (cell) cell.push(player);
      else this.#cells.set(key, [player]);
    }
  }

  /** All others within the radius of a player. */
  near(me) {
    const { radius } = this;
    const others = [];
    for (let dx = -radius; dx <= radius; dx += radius) {
      for (let dz = -radius; dz <= radius; dz += radius) {
        const cell = this.#cells.get(this.#key(me.x + dx, me.z + dz));
        if (!cell) continue;
        for (const other of cell) {
          const x = other.x - me.x;
          const y = other.y - me.y;
          const z = other.z - me.z;
          if (other !== me && x * x + y * y + z * z <= radius * radius) others.push(other);
        }
      }
    }
    return others;
  }

  #key(x, z) {
    return Math.floor(x / this.radius) * 65_536 + Math.floor(z / this.radius);
  }
}
