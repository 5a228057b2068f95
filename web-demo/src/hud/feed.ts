// What has just happened, in a few lines that fade.

const LINES = 5;
const LINE_MS = 11_000;

/** The lines. */
export class Feed {
  readonly #list: HTMLElement;

  constructor(list: HTMLElement) {
    this.#list = list;
  }

  /** One more. */
  tell(text: string): void {
    const line = Object.assign(document.createElement("li"), { textContent: text });
    this.#list.append(line);
    while (this.#list.children.length > LINES) this.#list.firstElementChild?.remove();
    setTimeout(() => line.classList.add("old"), LINE_MS - 1_000);
    setTimeout(() => line.remove(), LINE_MS);
  }
}
