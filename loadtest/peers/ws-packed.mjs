// `ws` and records packed by hand, the floor's (../src/floor.rs): a number, then x y z in 1/32 m and the facing, five
// 16-bit words in all, in the machine's order (little-endian). A record is written once and copied to all who are near.
import { WebSocketServer } from 'ws';
import { everyTick, Grid, places, RADIUS_M, ready, UNITS_PER_M } from './job.mjs';

const RECORD_WORDS = 5;
const SAID_BYTES = 8;

const { listen, admin } = places();
const players = new Map(); // by socket; only those who have said where they are
let joined = 0;

// ws turns Nagle's delay off by itself.
const server = new WebSocketServer({ ...listen, perMessageDeflate: false });
server.on('listening', () => ready(server.address(), admin));
server.on('connection', (socket) => {
  const record = Int16Array.of(++joined, 0, 0, 0, 0);
  const player = { record, x: 0, y: 0, z: 0 };
  socket.send(record.subarray(0, 1));
  socket.on('message', (data) => {
    if (data.length !== SAID_BYTES) return socket.close(1007, `a move has ${SAID_BYTES} bytes`);
    for (let word = 1; word < RECORD_WORDS; word++) record[word] = data.readInt16LE(2 * word - 2);
    [, player.x, player.y, player.z] = record;
    players.set(socket, player);
  });
  socket.on('error', console.error);
  socket.on('close', () => players.delete(socket));
});

everyTick(() => {
  const grid = new Grid(players.values(), RADIUS_M * UNITS_PER_M);
  for (const [socket, me] of players) {
    const near = grid.near(me);
    const message = new Int16Array(near.length * RECORD_WORDS);
    let at = 0;
    // Word by word: for so few, `set` costs more than the copying.
    for (const { record } of near) {
      for (let word = 0; word < RECORD_WORDS; word++) message[at++] = record[word];
    }
    socket.send(message);
  }
});
