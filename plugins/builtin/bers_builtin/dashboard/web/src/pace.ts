// When things are drawn: some milliseconds in each frame, and nothing while nobody looks.

import { complain } from "./view";

const SLICE = 8; // Milliseconds of a frame, so that there is time to answer who types and scrolls.

const waiting = new Set<() => unknown>();

/** Draw in one of the next frames; once, however often it is asked for before. A page that is hidden has no frames. */
export function drawSoon(draw: () => unknown): void {
  if (waiting.size === 0) requestAnimationFrame(frame);
  waiting.add(draw);
}

function frame(): void {
  const end = performance.now() + SLICE;
  for (const draw of waiting) {
    waiting.delete(draw);
    try {
      draw();
    } catch (why) {
      complain(why); // What cannot be drawn keeps nothing else from being drawn.
    }
    if (performance.now() > end) break;
  }
  if (waiting.size) requestAnimationFrame(frame);
}

/** The next frame, for who has more to do than fits into one. */
export const nextFrame = (): Promise<unknown> => new Promise((resolve) => requestAnimationFrame(resolve));

/** What draws when it is called, and again not before it is done and `pause` milliseconds are over, however often it is called. */
export function atMost(pause: number, draw: () => unknown): () => void {
  let resting = false;
  let again = false;
  const now = () => {
    resting = true;
    void (async () => draw())().catch(complain).finally(() => setTimeout(rested, pause));
  };
  const rested = () => {
    resting = false;
    if (again) drawSoon(now);
    again = false;
  };
  return () => {
    if (resting) again = true;
    else drawSoon(now);
  };
}
