// What every view has: a place on the page, the stream, and how it asks for all that it shows.

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

let loading = async (): Promise<boolean> => false;

/** Say how a view is loaded, with its faults shown; see `main.ts`. */
export function loadWith(load: () => Promise<boolean>): void {
  loading = load;
}

/** Ask for everything anew, because something else is looked at; resolves to whether the server answered. */
export const reload = (): Promise<boolean> => loading();
