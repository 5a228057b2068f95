// What the two servers on `ws` share, as its README shows it: a listener per connection, and a tick that tells everybody
// who is near. What they say and how they write it is theirs.
import { WebSocketServer } from 'ws';
import { everyTick, Grid, places, ready } from './job.mjs';

/**
 * Serves the job. `join(id)` makes a player (with x, y, z), `welcome(player)` is what it is sent first; `hear(player,
 * data)` takes a move, or returns what is wrong with it; `tell(players)` is what one is sent who has these near.
 */
export function serve(radius, { join, welcome, hear, tell }) {
  const { listen, admin } = places();
  const players = new Map(); // by socket; only those who have said where they are
  let joined = 0;

  // ws turns Nagle's delay off by itself.
  const server = new WebSocketServer({ ...listen, perMessageDeflate: false });
  server.on('listening', () => ready(server.address(), admin));
  server.on('connection', (socket) => {
    const player = join(++joined);
    socket.send(welcome(player));
    socket.on('message', (data) => {
      const fault = hear(player, data);
      if (fault) return socket.close(1007, fault);
      players.set(socket, player);
    });
    socket.on('error', console.error);
    socket.on('close', () => players.delete(socket));
  });

  everyTick(() => {
    const grid = new Grid(players.values(), radius);
    for (const [socket, me] of players) socket.send(tell(grid.near(me)));
  });
}
