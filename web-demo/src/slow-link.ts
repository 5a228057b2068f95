// A link that is slower than it is: this page takes in so many bytes a second and no more, and so says late what it has seen.
// By that the gateway goes, as on a bad network, and sends less. (The browser goes on to answer pings at once.)

import type { Socket } from "@nearcast/client";

/** Steps of the slider, bytes per second. */
export const RATES = [Number.POSITIVE_INFINITY, 64_000, 32_000, 16_000, 8_000, 4_000, 2_000, 1_000];

/** How slow it is, for all sockets that {@link slowSocket} opened. */
export const slow = { bytesPerS: RATES[0]! };

/** Those that are open: what waits by another rate goes on by the new one. */
const open = new Set<() => void>();

/** All sockets are as slow as this from now on. */
export function setRate(bytesPerS: number): void {
  slow.bytesPerS = bytesPerS;
  for (const anew of open) anew();
}

/** Opens a WebSocket whose messages come no faster than `slow` says. */
export function slowSocket(url: string, subprotocol: string): Socket {
  const socket = new WebSocket(url, subprotocol);
  const waiting: MessageEvent[] = [];
  let [free, timer] = [0, 0];
  const give = (): void => {
    timer = 0;
    while (waiting.length > 0) {
      const now = performance.now();
      if (now < free) {
        timer = window.setTimeout(give, free - now);
        return;
      }
      const event = waiting.shift()!;
      const bytes = typeof event.data === "string" ? event.data.length : (event.data as ArrayBuffer).byteLength;
      free = Math.max(free, now - 20) + (bytes / slow.bytesPerS) * 1_000;
      outer.onmessage?.(event as never);
    }
  };
  const anew = (): void => {
    clearTimeout(timer);
    free = 0;
    give();
  };
  open.add(anew);
  socket.onmessage = (event) => {
    waiting.push(event);
    if (timer === 0) give();
  };
  const outer: Socket = {
    set binaryType(type: string) {
      socket.binaryType = type as BinaryType;
    },
    get binaryType() {
      return socket.binaryType;
    },
    get readyState() {
      return socket.readyState;
    },
    onopen: null,
    onmessage: null,
    onclose: null,
    onerror: null,
    send: (data) => socket.send(data),
    close: (code) => {
      waiting.length = 0;
      socket.close(code);
    },
  };
  socket.onopen = (event) => outer.onopen?.(event as never);
  socket.onclose = (event) => {
    open.delete(anew);
    clearTimeout(timer);
    // What it said last comes before its end.
    for (const message of waiting.splice(0)) outer.onmessage?.(message as never);
    outer.onclose?.(event);
  };
  socket.onerror = (event) => outer.onerror?.(event as never);
  return outer;
}
