/** Report builds, tests and deployments to BERS Monitoring: never an error, never a wait, nothing lost. */

export { attach, bridge, type BridgeOptions, type Detail, dispatch, EVENTS } from './browser.js';
export { emit, emitter, Emitter, flush, type Options } from './emitter.js';
export type { Fields, Outcome } from './event.js';
