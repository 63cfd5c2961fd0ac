// SPDX-License-Identifier: Apache-2.0
// What the pages show, fetched once for all who look at it and again when it may have changed:
// told by the daemon's events, and now and then in any case.
import { effect, signal, type Signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { done, getWhole, me, Problem, problemOf } from "./api";

export interface Resource<T> { data?: T; problem?: Problem }

interface Entry { state: Signal<Resource<unknown>>; users: number; busy: boolean; again: boolean; long: boolean }

const entries = new Map<string, Entry>();
const EVERY = 5000, SELDOM = 12;

async function load(path: string, entry: Entry) {
	if (entry.busy) {
		entry.again = true;
		return;
	}
	entry.busy = true;
	try {
		entry.state.value = { data: await getWhole(path) };
	} catch (error) {
		entry.state.value = { data: entry.state.value.data, problem: problemOf(error) };
	}
	entry.busy = false;
	if (entry.again) {
		entry.again = false;
		void load(path, entry);
	}
}

/** Everything on show is fetched again. */
export function refresh(short = false) {
	for (const [path, entry] of entries) if (entry.users && !(short && entry.long)) void load(path, entry);
}

/** The GET of @path, kept fresh while a component uses it; null: nothing is asked for. A @long one
 *  is asked for again when something has changed, and otherwise only each minute. */
export function useResource<T>(path: string | null, long = false): Resource<T> {
	const key = path ?? "";
	let entry = entries.get(key);
	if (!entry) {
		entry = { state: signal({}), users: 0, busy: false, again: false, long };
		entries.set(key, entry);
	}
	const held = entry;
	useEffect(() => {
		if (path === null) return;
		held.users++;
		void load(path, held);
		return () => {
			if (--held.users === 0) setTimeout(() => {
				// Another one may have taken its place since.
				if (!held.users && entries.get(key) === held) entries.delete(key);
			}, 30000);
		};
	}, [key]);
	return held.state.value as Resource<T>;
}

/** Is the stream of events open? */
export const listening = signal(false);
let source: EventSource | undefined;
let later: number | undefined;

function soon() {
	clearTimeout(later);
	later = setTimeout(() => refresh(), 120);
}

function close() {
	source?.close();
	source = undefined;
	listening.value = false;
}

function open() {
	close();
	source = new EventSource("/api/v1/events");
	source.onopen = () => { listening.value = true; };
	source.onerror = () => {
		listening.value = false;
		// Any answer but 200 (the daemon is away) closes it for good.
		if (source?.readyState === EventSource.CLOSED) setTimeout(() => { if (me.value && !listening.value) open(); }, 5000);
	};
	for (const kind of ["change", "sessions", "pools", "alerts", "lost"]) source.addEventListener(kind, soon);
}

effect(() => {
	if (me.value) open();
	else {
		close();
		entries.clear();
		done.value = [];
	}
});
let rounds = 0;
setInterval(() => {
	rounds++;
	if (me.value && document.visibilityState === "visible") refresh(listening.value && rounds % SELDOM !== 0);
}, EVERY);
document.addEventListener("visibilitychange", () => {
	if (me.value && document.visibilityState === "visible") refresh();
});
