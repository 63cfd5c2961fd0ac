// SPDX-License-Identifier: Apache-2.0
// Images on their way into a share, and bundles of a new release into the appliance. A file goes in pieces, each where the one before has ended; what
// is cut off goes on from there, also after the page was closed and the file is given again, if what is
// there is the beginning of this file and not of another one of its name. It goes on while other pages are looked at.
import { signal } from "@preact/signals";
import { call, me, part, problemOf, sendBytes, type Problem } from "./api";
import { refresh } from "./live";
import { Sha256 } from "./sha256";

export interface Sending {
	id: number; path: string; at: string; name: string; size: number; sent: number; began: number;
	state: "sending" | "checking" | "done" | "failed"; sha256: string; problem?: Problem;
}
interface Upload { received_bytes: number; received_sha256: string; piece_bytes: number }

export const sending = signal<Sending[]>([]);
const files = new Map<number, File>();
const TRIES = 6, PAUSE = 1000;
let last = 0;

const find = (id: number) => sending.value.find((one) => one.id === id);

function change(id: number, to: Partial<Sending>) {
	sending.value = sending.value.map((one) => (one.id === id ? { ...one, ...to } : one));
}

const bytesOf = async (file: File, from: number, to: number) => new Uint8Array(await file.slice(from, to).arrayBuffer());

/** All pieces from where the daemon is; the hash is of everything before @at. */
async function pieces(one: Sending, file: File, hash: Sha256, at: number, begun: Upload): Promise<number> {
	while (at < file.size && find(one.id)) {
		const data = await bytesOf(file, at, Math.min(file.size, at + begun.piece_bytes));
		await sendBytes(`${one.at}?offset=${at}`, data);
		hash.update(data);
		at += data.length;
		change(one.id, { sent: at });
	}
	return at;
}

/** What may pass by itself: no connection, a daemon that starts, an upload it has lost sight of. */
const passes = (problem: Problem) => problem.status === 0 || problem.status === 503 || problem.status === 502 || ["upload_gone", "wrong_offset", "busy"].includes(problem.code);

async function send(one: Sending, file: File) {
	let hash = new Sha256(), hashed = 0, tries = 0, anew = false;
	for (;;) {
		try {
			const begun = await call<Upload>("POST", one.path, { name: one.name, size: file.size, ...(anew && { anew }) });
			anew = false;
			if (begun.received_bytes < hashed) {
				hash = new Sha256();
				hashed = 0;
			}
			while (hashed < begun.received_bytes) {
				const data = await bytesOf(file, hashed, Math.min(begun.received_bytes, hashed + begun.piece_bytes));
				hash.update(data);
				hashed += data.length;
			}
			if (hashed > 0 && hash.copy().hex() !== begun.received_sha256) {
				anew = true;
				continue;
			}
			change(one.id, { sent: hashed });
			hashed = await pieces(one, file, hash, hashed, begun);
			break;
		} catch (error) {
			// What has gone out and was not acknowledged is not in the hash; it is asked for again.
			const now = find(one.id)?.sent ?? 0;
			if (now > hashed) {
				tries = 0;
				hashed = now;
			}
			if (!passes(problemOf(error)) || ++tries > TRIES || !me.value) throw error;
			await new Promise((resolve) => setTimeout(resolve, PAUSE * tries));
		}
	}
	if (!find(one.id)) return;
	change(one.id, { state: "checking" });
	const made = await call<{ sha256: string }>("POST", `${one.at}/done`, { sha256: hash.hex() });
	change(one.id, { state: "done", sha256: made.sha256 });
	files.delete(one.id);
	refresh();
}

async function run(id: number) {
	const one = find(id), file = files.get(id);
	if (!one || !file) return;
	change(id, { state: "sending", problem: undefined, began: Date.now() });
	try {
		await send(one, file);
	} catch (error) {
		change(id, { state: "failed", problem: problemOf(error) });
		refresh();
	}
}

/** @path: of the images of a share, or where else an upload begins; @at: where its pieces go. */
export function sendFile(path: string, file: File, at = `${path}/${part(file.name)}`) {
	const id = ++last;
	files.set(id, file);
	sending.value = [...sending.value, { id, path, at, name: file.name, size: file.size, sent: 0, began: Date.now(), state: "sending", sha256: "" }];
	void run(id);
}

export const tryAgain = (id: number) => void run(id);

/** Ends it; what has arrived stays and can be gone on with. */
export function forget(id: number) {
	sending.value = sending.value.filter((one) => one.id !== id);
	files.delete(id);
}
