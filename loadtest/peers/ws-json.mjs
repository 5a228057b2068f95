// `ws` and JSON: objects through JSON.stringify. Metres and degrees.
import { RADIUS_M } from './job.mjs';
import { serve } from './ws.mjs';

serve(RADIUS_M, {
  join: (id) => ({ id, x: 0, y: 0, z: 0, yaw: 0 }),
  welcome: ({ id }) => JSON.stringify({ you: id }),
  hear: (player, data) => {
    const { x, y, z, yaw } = JSON.parse(data);
    Object.assign(player, { x, y, z, yaw });
  },
  tell: (players) => JSON.stringify({ players }),
});
