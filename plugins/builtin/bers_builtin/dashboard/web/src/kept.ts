// What a browser remembers for its reader; where it may not, everything works as if it had forgotten.

export const recall = (name: string): string => tried(() => localStorage.getItem(`bers:${name}`)) ?? "";

export const remember = (name: string, value: string): void => void tried(() => localStorage.setItem(`bers:${name}`, value));

/** What somebody has written and not yet used, for as long as the tab is open; null where nothing is. */
export const draft = (name: string): string | null => tried(() => sessionStorage.getItem(`bers:${name}`)) ?? null;

/** Keep it, or, with null, no longer. */
export function keepDraft(name: string, text: string | null): void {
  tried(() => (text === null ? sessionStorage.removeItem(`bers:${name}`) : sessionStorage.setItem(`bers:${name}`, text)));
}

function tried<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch {
    return undefined; // Where storage is forbidden, even to ask for it is.
  }
}
