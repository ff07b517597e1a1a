// What a browser remembers for its reader; where it may not, everything works as if it had forgotten.

export function recall(name: string): string {
  try {
    return localStorage.getItem(`bers:${name}`) ?? "";
  } catch {
    return ""; // Where storage is forbidden, even to ask for it is.
  }
}

export function remember(name: string, value: string): void {
  try {
    localStorage.setItem(`bers:${name}`, value);
  } catch {
    // It holds for this page, then.
  }
}
