/**
 * A client of a nearcast gateway, for browsers and Node.
 *
 * @packageDocumentation
 */

export { Client, connect } from "./client.ts";
export { Lost, Refused } from "./commands.ts";
export type { Encoding } from "./codec/codec.ts";
export type { Ack, Act, Bye, Changes, Delta, Event, Id, Pos, Refuse, Scope, Thing, View, Welcome, Wish } from "./codec/messages.ts";
export type { Figures } from "./figures.ts";
export type { Closed, Socket } from "./link.ts";
export type { Action, Events, Options, Status } from "./options.ts";
export type { Sample } from "./path.ts";
export type { Saved } from "./session.ts";
export type { Avatar } from "./table.ts";
