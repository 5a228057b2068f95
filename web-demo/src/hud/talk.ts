// Saying something, showing a feeling, writing a note.

/** Signs that every font has, so that all see the same. */
const EMOTES = ["☺", "♥", "★", "♪", "!", "?"];

/** Whether somebody shows one of these, and no text of any length. */
export const isEmote = (text: string): boolean => EMOTES.includes(text);

/** What becomes of it. */
export interface Ears {
  say(text: string): void;
  emote(emote: string): void;
}

/** The line at the foot of the page. */
export class Talk {
  readonly #input: HTMLInputElement;
  readonly #ears: Ears;
  /** Where the words go that are being written, if they are not said. */
  #note: ((text: string) => void) | undefined;

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
      const take = this.#note ?? ears.say;
      if (text) take(text);
      this.#close();
    };
    this.#input.onkeydown = (event) => {
      if (event.key === "Escape") this.#close();
      event.stopPropagation();
    };
    this.#input.onblur = () => this.#note && this.#close();
  }

  /** Waits for words: to say, or for a board. */
  open(note?: (text: string) => void): void {
    this.#note = note;
    this.#input.placeholder = note ? "Write on the board" : "Say something (Enter)";
    this.#input.focus();
  }

  /** Shows a feeling, by its number. */
  emote(number: number): void {
    const emote = EMOTES[number];
    if (emote) this.#ears.emote(emote);
  }

  #close(): void {
    this.#input.value = "";
    [this.#note, this.#input.placeholder] = [undefined, "Say something (Enter)"];
    this.#input.blur();
  }
}
