// Colyseus as its documentation has it: a room with a schema, a StateView per client that holds those who are near,
// refreshed before each patch. Coordinates are int16 in 1/32 m.
import { createServer } from 'node:http';
import { defineRoom, defineServer, Room } from '@colyseus/core';
import { Encoder, schema, StateView, t } from '@colyseus/schema';
import { WebSocketTransport } from '@colyseus/ws-transport';
import { Grid, places, RADIUS_M, ready, TICK_MS, UNITS_PER_M } from './job.mjs';

// All views of a tick are encoded into one buffer; at its default of 8 KiB it would be made anew, larger, many times.
Encoder.BUFFER_SIZE = 2 * 1024 * 1024;

const Player = schema({ x: t.int16(), y: t.int16(), z: t.int16(), yaw: t.int16() }, 'Player');
const Plaza = schema({ players: t.map(Player).view() }, 'Plaza');

class PlazaRoom extends Room {
  state = new Plaza();
  patchRate = TICK_MS;

  messages = {
    move: (client, { x, y, z, yaw }) => {
      const player = this.state.players.get(client.sessionId);
      if (player) Object.assign(player, { x, y, z, yaw });
      else this.state.players.set(client.sessionId, new Player().assign({ x, y, z, yaw }));
    },
  };

  onJoin(client) {
    client.view = new StateView();
    client.userData = { near: new Set() };
  }

  onLeave(client) {
    this.state.players.delete(client.sessionId);
  }

  onBeforePatch({ players }) {
    const grid = new Grid(players.values(), RADIUS_M * UNITS_PER_M);
    for (const client of this.clients) {
      const me = players.get(client.sessionId);
      if (!me) continue;
      const near = new Set(grid.near(me));
      const before = client.userData.near;
      for (const player of near) if (!before.has(player)) client.view.add(player);
      for (const player of before) if (!near.has(player)) client.view.remove(player);
      client.userData.near = near;
    }
  }
}

const { listen, admin } = places();
const http = createServer();
const server = defineServer({
  rooms: { plaza: defineRoom(PlazaRoom) },
  // Compression is off by default; ws turns Nagle's delay off by itself.
  transport: new WebSocketTransport({ server: http }),
  gracefullyShutdown: false,
  greet: false,
});
await server.listen(listen.port, listen.host);
ready(http.address(), admin);
