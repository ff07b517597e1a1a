// What readers are told who do not see the page: what changed and matters, in one sentence, and never every second.

import { byId, show } from "./dom";

const TOGETHER = 1000; // Milliseconds in which what happens is said in one go.

const waiting: string[] = [];
let due: ReturnType<typeof setTimeout> | undefined;

export function announce(text: string): void {
  waiting.push(text);
  due ??= setTimeout(() => {
    due = undefined;
    const all = waiting.splice(0);
    show(byId("news"), all.length > 3 ? `${all.slice(0, 3).join(". ")}, and ${all.length - 3} more` : all.join(". "));
  }, TOGETHER);
}
