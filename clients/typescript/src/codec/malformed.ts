/** Bytes that are no message of protocol v1, or not the next after what came before. */
export class Malformed extends Error {
  override readonly name = "Malformed";
}
