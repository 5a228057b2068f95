// `ws` and records packed by hand, the floor's (../src/floor.rs): a number, then x y z in 1/32 m and the facing, five
// 16-bit words in all, in the machine's order (little-endian). A record is written once and copied to all who are near.
import { RADIUS_M, UNITS_PER_M } from './job.mjs';
import { serve } from './ws.mjs';

const RECORD_WORDS = 5;
const SAID_BYTES = 8;

serve(RADIUS_M * UNITS_PER_M, {
  join: (id) => ({ record: Int16Array.of(id, 0, 0, 0, 0), x: 0, y: 0, z: 0 }),
  welcome: ({ record }) => record.subarray(0, 1),
  hear: (player, data) => {
    if (data.length !== SAID_BYTES) return `a move has ${SAID_BYTES} bytes`;
    const { record } = player;
    for (let word = 1; word < RECORD_WORDS; word++) record[word] = data.readInt16LE(2 * word - 2);
    [, player.x, player.y, player.z] = record;
  },
  tell: (players) => {
    const message = new Int16Array(players.length * RECORD_WORDS);
    let at = 0;
    // Word by word: for so few, `set` costs more than the copying.
    for (const { record } of players) {
      for (let word = 0; word < RECORD_WORDS; word++) message[at++] = record[word];
    }
    return message;
  },
});
