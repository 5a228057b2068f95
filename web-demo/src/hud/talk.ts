// Saying something, showing a feeling, writing a note.

/** Signs that every font has, so that all see the same. */
const EMOTES = ["☺", "♥", "★", "♪", "!", "?"];

/** What becomes of it. */
export interface Ears {
  say(text: string): void;
  emote(emote: string): void;
  note(text: string): void;
}

/** The line at the foot of the page. */
export class Talk {
  readonly #input: HTMLInputElement;
  readonly #ears: Ears;
  #mode: "say" | "note" = "say";

  constructor(form: HTMLFormElement, ears: Ears) {
    this.#ears = ears;
    this.#input = form.querySelector("#words")!;
    const emotes = form.querySelector("#emotes")!;
    EMOTES.forEach((emote, i) => {
      const button = Object.assign(document.createElement("button"), { type: "button", textContent: emote, title: `${emote} (${i + 1})` });
      button.onclick = () => ears.emote(emote);
      emotes.append(button);
    });
    form.onsubmit = (event) => {
      event.preventDefault();
      const text = this.#input.value.trim();
      if (text) ears[this.#mode](text);
      this.#close();
    };
    this.#input.onkeydown = (event) => {
      if (event.key === "Escape") this.#close();
      event.stopPropagation();
    };
    this.#input.onblur = () => this.#mode === "note" && this.#close();
  }

  /** Waits for words: to say, or for a board. */
  open(mode: "say" | "note"): void {
    this.#mode = mode;
    this.#input.placeholder = mode === "say" ? "Say something (Enter)" : "Write on the board";
    this.#input.focus();
  }

  /** Shows a feeling, by its number. */
  emote(number: number): void {
    const emote = EMOTES[number];
    if (emote) this.#ears.emote(emote);
  }

  #close(): void {
    this.#input.value = "";
    [this.#mode, this.#input.placeholder] = ["say", "Say something (Enter)"];
    this.#input.blur();
  }
}
