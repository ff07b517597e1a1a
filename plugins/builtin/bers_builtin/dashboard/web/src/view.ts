// What every view has: a place on the page, the stream, and how it asks for all that it shows.

import { Refused, Unreachable } from "./api";
import { worded } from "./dialog";
import { byId, show } from "./dom";
import type { Head } from "./head";
import type { Live } from "./live";

export interface View {
  /** Ask REST for everything that is shown; it is called when the view begins, and whenever the stream missed anything. */
  load(): Promise<unknown>;
  /** Hear the stream. */
  listen?(live: Live): void;
  /** How often to ask again though the stream is live, in milliseconds: what it does not tell. */
  every?: number;
}

/** `head` is told how everything is, and tells it. */
export type Mount = (main: HTMLElement, head: Head) => View;

/** Which answers are still to be drawn, of those to questions that overlap: none that was asked for before what is drawn.
 *
 * It is asked when the question is, and what it returns when the answer is there.
 */
export function inOrder(): () => () => boolean {
  let asked = 0;
  let drawn = 0;
  return () => {
    const own = ++asked;
    return () => own >= drawn && ((drawn = own), true);
  };
}

let loading = async (): Promise<boolean> => false;

/** Say how a view is loaded, with its faults shown; see `main.ts`. */
export function loadWith(load: () => Promise<boolean>): void {
  loading = load;
}

/** Say above the view what is wrong with what it shows; nothing where all is well. */
export function trouble(text: string): void {
  byId("trouble").hidden = text === "";
  show(byId("trouble"), text);
}

/** Say what could not be asked or drawn besides. That nobody answers is said by whoever asks regularly. */
export function complain(why: unknown): void {
  if (why instanceof Unreachable) return;
  trouble(worded(why));
  if (!(why instanceof Refused)) console.error(why);
}

/** Ask for everything anew, because something else is looked at; resolves to whether the server answered. */
export const reload = (): Promise<boolean> => loading();
