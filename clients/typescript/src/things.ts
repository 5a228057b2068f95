// Things and places in sight, as told last.

import type { Id, Objects, Place, Thing } from "./codec/messages.ts";

/** What one message did. */
export interface Told {
  put: Thing[];
  gone: Thing[];
  places: Place[];
}

/** Those of one session. */
export class Things {
  readonly things = new Map<Id, Thing>();
  readonly places = new Map<string, Record<string, string>>();

  /** Takes in a message. At a beginning what does not come again by the same message is gone. */
  apply({ begin, put = [], gone = [], places = [] }: Objects): Told {
    const lost: Thing[] = [];
    if (begin) {
      const stays = new Set(put.map(({ object }) => object));
      for (const thing of this.things.values()) if (!stays.has(thing.object)) lost.push(thing);
      this.things.clear();
      this.places.clear();
    }
    for (const id of gone) {
      const thing = this.things.get(id);
      if (thing) lost.push(thing);
      this.things.delete(id);
    }
    for (const thing of put) this.things.set(thing.object, thing);
    for (const { place, fields = {} } of places) this.places.set(place, fields);
    return { put, gone: lost, places };
  }
}
