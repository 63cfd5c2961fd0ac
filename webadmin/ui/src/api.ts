// SPDX-License-Identifier: Apache-2.0
// The API as the pages use it. The session is a cookie that no script can read; its CSRF token is
// kept here and sent with every change.
import { signal } from "@preact/signals";

export interface Me { name: string; role: Role; csrf: string; totp?: boolean }
export type Role = "viewer" | "provisioner" | "operator" | "admin" | "replication";
const roles: Role[] = ["viewer", "provisioner", "operator", "admin"];

/** Who is signed in; null: nobody; undefined: not known yet. */
export const me = signal<Me | null | undefined>(undefined);
/** The first account is still to be made. */
export const setupNeeded = signal(false);

/** An account that sees and changes replication groups, and nothing else. */
export const onlyReplication = () => me.value?.role === "replication";
/** Who changes groups: besides an administrator such an account, as the table of routes has it. */
export const canReplicate = () => onlyReplication() || can("admin");
export const can = (role: Role) => !!me.value && roles.indexOf(me.value.role) >= roles.indexOf(role);

/** An RFC 9457 body, or what took its place. */
export class Problem extends Error {
	constructor(readonly status: number, readonly code: string, readonly detail: string, readonly wait = 0, readonly field = "") {
		super(detail);
	}
}

export function problemOf(error: unknown): Problem {
	return error instanceof Problem ? error : new Problem(0, "internal", String(error));
}

/** Asks for the password again; set by the shell. Resolves to false when it is not given. */
export const confirmer: { ask: () => Promise<boolean> } = { ask: async () => false };

/** @step: what comes back is not looked at, and further changes may follow. @type: of a body that is a text;
 *  of a GET, what is asked for. @seen: gets the tag of what came back. */
interface More { tag?: string; quiet?: boolean; step?: boolean; type?: string; seen?: (tag: string) => void }

async function send(method: string, path: string, body: unknown, more: More): Promise<Response> {
	const headers: Record<string, string> = {};
	if (body !== undefined) headers["Content-Type"] = more.type ?? "application/json";
	else if (more.type) headers.Accept = more.type;
	if (method !== "GET" && me.value) headers["X-CSRF-Token"] = me.value.csrf;
	if (more.tag) headers["If-Match"] = more.tag;
	try {
		return await fetch(`/api/v1${path}`, { method, headers, body: body === undefined ? undefined : more.type ? String(body) : JSON.stringify(body), cache: "no-store" });
	} catch {
		throw new Problem(0, "offline", "");
	}
}

async function refusal(response: Response): Promise<Problem> {
	const wait = parseInt(response.headers.get("Retry-After") ?? "0", 10) || 0;
	try {
		const body = await response.json();
		return new Problem(response.status, body.code ?? "unknown", body.detail ?? "", wait, body.field);
	} catch {
		return new Problem(response.status, "unknown", response.statusText, wait);
	}
}

async function good(method: string, path: string, body: unknown, more: More): Promise<Response> {
	const response = await send(method, path, body, more);
	if (response.ok) return response;
	const problem = await refusal(response);
	if (problem.code === "not_signed_in" && me.value) me.value = null;
	if (problem.code === "confirm_first" && (await confirmer.ask())) return good(method, path, body, more);
	throw problem;
}

/** A change that went well, for the page of commands; what a secret is has gone out of it. */
export interface Done { id: number; at: number; method: string; path: string; body?: unknown }
export const done = signal<Done[]>([]);
const KEPT = 50, secrets = ["password", "old", "new", "code", "key", "chain", "clients", "chap_secret", "mutual_secret", "secret", "url", "passphrase"];

const withoutSecrets = (body: unknown) => (body && Object.keys(body).length ? Object.fromEntries(Object.entries(body).map(([name, value]) => [name, value && secrets.includes(name) ? "…" : value])) : undefined);

function remember(method: string, path: string, body: unknown) {
	if (method === "GET" || path.includes("dry_run=") || /^\/(login|logout|setup|me)\b/.test(path)) return;
	done.value = [...done.value.slice(1 - KEPT), { id: (done.value.at(-1)?.id ?? 0) + 1, at: Date.now(), method, path, body: withoutSecrets(body) }];
}

/** What a dry run has said: what would be different of what, or whatever else is told of it. */
export type DryRun = { dry_run: boolean; what?: string; before?: Record<string, unknown>; after?: Record<string, unknown> } & Record<string, unknown>;
/** The change that an action would ask for. */
export interface Tried { method: string; path: string; body?: unknown; answer: DryRun }

/** The changes of the action that is tried out now: the first, and each that follows a step. */
let trial: Tried[] | null = null;
let trialOver: Promise<void> = Promise.resolve();

export const isTrial = () => trial !== null;
/** Resolves when nothing is tried out: before that a change would be no change. */
export const noTrial = () => trialOver;

/** What @action would change, by its own requests, none of which is carried out. */
export async function tryOut(action: () => Promise<unknown>): Promise<Tried[]> {
	await trialOver;
	const mine: Tried[] = [];
	let over = () => {};
	trialOver = new Promise((resolve) => { over = resolve; });
	trial = mine;
	try {
		await action();
	} catch (error) {
		if (problemOf(error).code !== "tried") throw error;
	} finally {
		trial = null;
		over();
	}
	return mine;
}

async function tryCall<T>(mine: Tried[], method: string, path: string, body: unknown, more: More): Promise<T> {
	const answer: DryRun = await (await good(method, `${path}${path.includes("?") ? "&" : "?"}dry_run=1`, body, more)).json();
	mine.push({ method, path, body: withoutSecrets(body), answer });
	if (!more.step) throw new Problem(0, "tried", "");
	return answer as T;
}

export async function call<T>(method: string, path: string, body?: unknown, more: More = {}): Promise<T> {
	if (trial && method !== "GET" && !path.includes("dry_run=") && path !== "/me/confirm") return tryCall<T>(trial, method, path, body, more);
	const response = await good(method, path, body, more), answer = await response.json();
	more.seen?.(response.headers.get("ETag") ?? "");
	remember(method, path, more.type ? undefined : body);
	return answer;
}

/** A piece of a file. */
export async function sendBytes(path: string, data: Uint8Array): Promise<void> {
	let response: Response;
	if (trial) throw new Problem(422, "no_dry_run", "");
	try {
		response = await fetch(`/api/v1${path}`, { method: "PUT", headers: { "Content-Type": "application/octet-stream", "X-CSRF-Token": me.value?.csrf ?? "" }, body: data as BlobPart as Blob, cache: "no-store" });
	} catch {
		throw new Problem(0, "offline", "");
	}
	if (!response.ok) throw await refusal(response);
}

/** Bytes of the API. */
export const bytesFrom = async (path: string, type?: string): Promise<Blob> => (await good("GET", path, undefined, { type })).blob();

/** A file of the API, for the browser to keep. */
export async function download(path: string, name: string) {
	const response = await good("GET", path, undefined, {});
	const told = /filename="([^"]+)"/.exec(response.headers.get("Content-Disposition") ?? "")?.[1];
	saveFile(told ?? name, await response.blob());
}

export function saveFile(name: string, data: Blob) {
	const link = document.createElement("a");
	link.href = URL.createObjectURL(data);
	link.download = name;
	link.click();
	setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

export const get = <T>(path: string) => call<T>("GET", path);

/** Lists that the daemon gives in pages, for they may be long. */
const paged = /^\/(volumes|bin|targets|sessions|initiators|hosts|shares|accounts|tokens|nfs-clients|nfs-hosts|snapshot-schedules)$|\/snapshots$/;

function cursorOf(response: Response): string | null {
	const link = /^<([^>]*)>; rel="next"/.exec(response.headers.get("Link") ?? "");
	return link ? new URL(link[1], location.origin).searchParams.get("cursor") : null;
}

/** The GET of @path; of a list that comes in pages, all of them. */
export async function getWhole<T>(path: string): Promise<T> {
	if (!paged.test(path)) return get<T>(path);
	const all: unknown[] = [];
	for (let cursor: string | null = ""; cursor !== null;) {
		const response: Response = await good("GET", `${path}?limit=1000${cursor && `&cursor=${part(cursor)}`}`, undefined, {});
		for (const item of (await response.json()) as unknown[]) all.push(item);
		cursor = cursorOf(response);
	}
	return all as T;
}

/** A GET with the tag that a later change sends as If-Match. */
export async function getTagged<T>(path: string): Promise<{ data: T; tag: string }> {
	const response = await good("GET", path, undefined, {});
	return { data: await response.json(), tag: response.headers.get("ETag") ?? "" };
}

/** A part of a path. */
export const part = (text: string | number) => encodeURIComponent(text);

/** Who am I? Never throws for "nobody"; for an unreachable daemon it does. */
export async function identify() {
	const door = await get<{ needed: boolean; signed_in: boolean }>("/setup");
	setupNeeded.value = door.needed;
	me.value = door.signed_in ? await get<Me>("/me") : null;
}
