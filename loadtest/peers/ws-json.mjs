// `ws` and JSON, as its README shows: a listener per connection, objects through JSON.stringify. Metres and degrees.
import { WebSocketServer } from 'ws';
import { everyTick, Grid, places, RADIUS_M, ready } from './job.mjs';

const { listen, admin } = places();
const players = new Map(); // by socket; only those who have said where they are
let joined = 0;

// ws turns Nagle's delay off by itself.
const server = new WebSocketServer({ ...listen, perMessageDeflate: false });
server.on('listening', () => ready(server.address(), admin));
server.on('connection', (socket) => {
  const id = ++joined;
  socket.send(JSON.stringify({ you: id }));
  socket.on('message', (data) => {
    const { x, y, z, yaw } = JSON.parse(data);
    const player = players.get(socket);
    if (player) Object.assign(player, { x, y, z, yaw });
    else players.set(socket, { id, x, y, z, yaw });
  });
  socket.on('error', console.error);
  socket.on('close', () => players.delete(socket));
});

everyTick(() => {
  const grid = new Grid(players.values(), RADIUS_M);
  for (const [socket, me] of players) {
    socket.send(JSON.stringify({ players: grid.near(me) }));
  }
});
