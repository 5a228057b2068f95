/** Bytes that are no message of protocol v1, or one that contradicts what came before: the connection must be given up for another. */
export class Malformed extends Error {
  override readonly name = "Malformed";
}
