// SPDX-License-Identifier: Apache-2.0
// The parts that pages are made of.
import { signal } from "@preact/signals";
import { createContext, type ComponentChildren } from "preact";
import { useContext, useEffect, useId, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { can, call, isTrial, noTrial, Problem, problemOf, tryOut, type Role, type Tried } from "./api";
import { number } from "./format";
import { Icon, type IconName } from "./icons";
import { refresh } from "./live";
import { Would } from "./would";
import { maybe, saysTheSame, t } from "./text";

type Children = { children?: ComponentChildren };

// --- what went wrong ---------------------------------------------------------------------------

/** A problem: what it is, what the daemon said, what to do. */
export function Trouble({ problem, retry }: { problem?: Problem | null; retry?: () => void }) {
	if (!problem) return null;
	const title = maybe(`code.${problem.code}`) ?? t("problem.unknown");
	const hint = maybe(`hint.${problem.code}`);
	return (
		<div class="trouble" role="alert">
			<Icon name="warning" />
			<div>
				<strong>{title}</strong>
				{problem.detail && !saysTheSame(`code.${problem.code}`, problem.detail) && <p class="detail" lang="en">{problem.detail}</p>}
				{problem.wait > 0 && <p>{t("problem.wait", { seconds: problem.wait })}</p>}
				{hint && <p>{hint}</p>}
				{retry && <button type="button" class="link" onClick={retry}>{t("action.retry")}</button>}
			</div>
		</div>
	);
}

/** What a resource shows while it is not there. */
export function Waiting({ problem }: { problem?: Problem }) {
	if (problem) return <Trouble problem={problem} />;
	return <div class="waiting" role="status"><span class="spinner" /> {t("state.loading")}</div>;
}

// --- short notices -----------------------------------------------------------------------------

const notices = signal<{ id: number; text: string; bad: boolean }[]>([]);
let lastNotice = 0;

export function notice(text: string, bad = false) {
	if (isTrial()) return; // nothing has been done
	const id = ++lastNotice;
	notices.value = [...notices.value.slice(-2), { id, text, bad }];
	setTimeout(() => { notices.value = notices.value.filter((one) => one.id !== id); }, bad ? 12000 : 5000);
}

export function Notices() {
	return (
		<div class="notices" role="status" aria-live="polite">
			{notices.value.map((one) => (
				<div key={one.id} class={one.bad ? "notice bad" : "notice"}>
					<Icon name={one.bad ? "warning" : "check"} /> {one.text}
				</div>
			))}
		</div>
	);
}

// --- page and card -----------------------------------------------------------------------------

export function Page({ title, lead, actions, back, children }: Children & { title: string; lead?: ComponentChildren; actions?: ComponentChildren; back?: { href: string; text: string } }) {
	useEffect(() => { document.title = `${title} · Granary`; }, [title]);
	return (
		<>
			<header class="head">
				<div>
					{back && <a class="back" href={back.href}>‹ {back.text}</a>}
					<h1 tabIndex={-1}>{title}</h1>
					{lead && <p class="lead">{lead}</p>}
				</div>
				{actions && <div class="actions">{actions}</div>}
			</header>
			{children}
		</>
	);
}

export function Card({ title, actions, children, wide, flush }: Children & { title?: ComponentChildren; actions?: ComponentChildren; wide?: boolean; flush?: boolean }) {
	return (
		<section class={`card${wide ? " wide" : ""}${flush ? " flush" : ""}`}>
			{title && <div class="card-head"><h2>{title}</h2>{actions}</div>}
			{children}
		</section>
	);
}

export function Empty({ icon, title, text, children }: Children & { icon: IconName; title: string; text?: string }) {
	return (
		<div class="empty">
			<Icon name={icon} />
			<h3>{title}</h3>
			{text && <p>{text}</p>}
			{children}
		</div>
	);
}

export function Facts({ rows }: { rows: ([string, ComponentChildren] | false | undefined | null)[] }) {
	return (
		<dl class="facts">
			{rows.map((row) => row && <div key={row[0]}><dt>{row[0]}</dt><dd>{row[1]}</dd></div>)}
		</dl>
	);
}

// --- state at a glance -------------------------------------------------------------------------

export type Tone = "good" | "warn" | "bad" | "quiet" | "busy";

export function Badge({ tone, children }: Children & { tone: Tone }) {
	return <span class={`badge ${tone}`}><i aria-hidden="true" />{children}</span>;
}

export function StateBadge({ state }: { state: string }) {
	const tone: Tone = state === "online" ? "good" : state === "read-only" || state === "degraded" ? "warn" : "bad";
	return <Badge tone={tone}>{maybe(`state.${state}`) ?? state}</Badge>;
}

/** A bar of how much is used, with marks at the watermarks (percents). */
export function SpaceBar({ used, size, marks, label }: { used: number; size: number; marks?: number[]; label: string }) {
	const share = size > 0 ? Math.min(100, (used / size) * 100) : 0;
	const level = (marks ?? []).filter((mark) => share >= mark).length;
	return (
		<div class={`space level${level}`} role="meter" aria-label={label} aria-valuemin={0} aria-valuemax={100} aria-valuenow={Math.round(share)}>
			<b style={{ width: `${share > 0 ? Math.max(share, 0.7) : 0}%` }} />
			{marks?.map((mark) => <i key={mark} style={{ left: `${mark}%` }} />)}
		</div>
	);
}

export function Progress({ value, label }: { value: number; label: string }) {
	return (
		<div class="space progress" role="progressbar" aria-label={label} aria-valuemin={0} aria-valuemax={100} aria-valuenow={Math.round(value * 100)}>
			<b style={{ width: `${Math.min(100, value * 100)}%` }} />
		</div>
	);
}

// --- buttons -----------------------------------------------------------------------------------

type ButtonProps = Children & { kind?: "main" | "danger" | "plain" | "quiet"; onClick?: () => unknown; busy?: boolean; disabled?: boolean; submit?: boolean; label?: string; icon?: IconName; role?: Role };

/** @role: who may not do it does not see it. */
export function Button({ kind = "plain", onClick, busy, disabled, submit, label, icon, role, children }: ButtonProps) {
	if (role && !can(role)) return null;
	return (
		<button type={submit ? "submit" : "button"} class={`button ${kind}`} onClick={onClick} disabled={disabled || busy} aria-label={label} title={label} aria-busy={busy}>
			{busy ? <span class="spinner" /> : icon && <Icon name={icon} />}
			{children && <span>{children}</span>}
		</button>
	);
}

export function Copy({ text, small }: { text: string; small?: boolean }) {
	const [done, setDone] = useState(false);
	async function copy() {
		try {
			await navigator.clipboard.writeText(text);
			setDone(true);
			setTimeout(() => setDone(false), 1600);
		} catch {
			notice(t("copy.failed"), true);
		}
	}
	return (
		<button type="button" class={`copy${small ? " small" : ""}`} onClick={copy} aria-label={t("copy.copy")} title={t("copy.copy")}>
			<Icon name={done ? "check" : "copy"} />{!small && <span>{done ? t("copy.done") : t("copy.copy")}</span>}
		</button>
	);
}

/** Text for a terminal, with a button that copies it. */
export function Snippet({ text, label }: { text: string; label: string }) {
	return (
		<div class="snippet">
			<pre tabIndex={0} aria-label={label}><code>{text}</code></pre>
			<Copy text={text} />
		</div>
	);
}

// --- forms -------------------------------------------------------------------------------------

/** What the daemon has refused of the form around, when it said of which field. */
const Refused = createContext<Problem | null>(null);

/** @field: the member of the request that it fills; what the daemon says of that is shown here. */
export function Field({ label, hint, problem: own, field, children }: { label: string; hint?: ComponentChildren; problem?: string | null; field?: string; children: (id: string, described: string | undefined, wrong: boolean) => ComponentChildren }) {
	const id = useId();
	const told = useContext(Refused), mine = field && told?.field === field ? told : null;
	const problem = own || (mine && <>{maybe(`code.${mine.code}`) ?? t("problem.unknown")} <span lang="en">{mine.detail}</span></>);
	const note = problem || hint ? `${id}-note` : undefined;
	return (
		<div class={`field${problem ? " wrong" : ""}`}>
			<label for={id}>{label}</label>
			{children(id, note, !!problem)}
			{note && <p id={note} class="hint" role={problem ? "alert" : undefined}>{problem || hint}</p>}
		</div>
	);
}

interface InputProps {
	label: string; hint?: ComponentChildren; problem?: string | null; value: string; onValue: (value: string) => void;
	type?: "text" | "password"; name?: string; class?: string; list?: string; placeholder?: string; autoFocus?: boolean;
	autocomplete?: "off" | "username" | "current-password" | "new-password" | "one-time-code";
	inputMode?: "numeric" | "text"; autocapitalize?: "off" | "characters";
}

export function Input({ label, hint, problem, value, onValue, ...rest }: InputProps) {
	return (
		<Field label={label} hint={hint} problem={problem}>
			{(id, note, wrong) => <input id={id} aria-describedby={note} aria-invalid={wrong} autocomplete="off" spellcheck={false} {...(rest as object)} value={value} onInput={(event) => onValue(event.currentTarget.value)} />}
		</Field>
	);
}

export function Select({ label, hint, value, onValue, options }: { label: string; hint?: ComponentChildren; value: string; onValue: (value: string) => void; options: [string, string][] }) {
	return (
		<Field label={label} hint={hint}>
			{(id, note) => (
				<select id={id} aria-describedby={note} value={value} onChange={(event) => onValue(event.currentTarget.value)}>
					{options.map(([key, text]) => <option key={key} value={key}>{text}</option>)}
				</select>
			)}
		</Field>
	);
}

export function Check({ label, value, onValue }: { label: string; value: boolean; onValue: (value: boolean) => void }) {
	return (
		<label class="check">
			<input type="checkbox" checked={value} onChange={(event) => onValue(event.currentTarget.checked)} /> <span>{label}</span>
		</label>
	);
}

/** A size: a number and its unit. */
export function SizeInput({ label, hint, problem, field, value, unit, onValue, onUnit }: { label: string; hint?: ComponentChildren; problem?: string | null; field?: string; value: string; unit: string; onValue: (value: string) => void; onUnit: (unit: string) => void }) {
	return (
		<Field label={label} hint={hint} problem={problem} field={field}>
			{(id, note, wrong) => (
				<div class="joined">
					<input id={id} inputMode="decimal" autocomplete="off" aria-describedby={note} aria-invalid={wrong} value={value} onInput={(event) => onValue(event.currentTarget.value)} />
					<select aria-label={t("size.unit")} value={unit} onChange={(event) => onUnit(event.currentTarget.value)}>
						{["M", "G", "T"].map((one) => <option key={one} value={one}>{one}iB</option>)}
					</select>
				</div>
			)}
		</Field>
	);
}

// --- doing -------------------------------------------------------------------------------------

/** One action at a time, with its problem. run() tells whether it went well. */
export function useAction() {
	const [busy, setBusy] = useState(false);
	const [problem, setProblem] = useState<Problem | null>(null);
	/** @quiet: nothing is different after it. */
	async function run(action: () => Promise<unknown>, quiet = false): Promise<boolean> {
		setBusy(true);
		setProblem(null);
		try {
			await action();
			if (!quiet) refresh();
			return true;
		} catch (error) {
			setProblem(problemOf(error));
			return false;
		} finally {
			setBusy(false);
		}
	}
	return { busy, problem, run, clear: () => setProblem(null) };
}

/** A change without a dialog: its problem becomes a notice. */
export async function act(done: string, method: string, path: string, body?: unknown): Promise<boolean> {
	try {
		await noTrial();
		await call(method, path, body ?? {});
		notice(done);
		refresh();
		return true;
	} catch (error) {
		const problem = problemOf(error);
		notice(`${maybe(`code.${problem.code}`) ?? t("problem.unknown")} ${problem.detail}`, true);
		return false;
	}
}

// --- dialogs -----------------------------------------------------------------------------------

export function Dialog({ title, onClose, children, tone }: Children & { title: string; onClose: () => void; tone?: "danger" }) {
	const box = useRef<HTMLDialogElement>(null);
	const id = useId();
	useEffect(() => {
		box.current?.showModal();
		return () => box.current?.close();
	}, []);
	return (
		<dialog ref={box} class={tone} aria-labelledby={id} onCancel={(event) => { event.preventDefault(); onClose(); }} onMouseDown={(event) => { if (event.target === box.current) onClose(); }}>
			<div class="dialog">
				<h2 id={id}>{title}</h2>
				{children}
			</div>
		</dialog>
	);
}

/** A form in a dialog; submit() does it, true closes. @fields: those that show what is said of them.
 *  What submit() would change is shown at a button, by a dry run of the very request; @untried: it has
 *  none; @atOnce: without a press. @known: the form says enough for that (as for @ready, unless it is given). */
export function FormDialog({ title, button, kind = "main", ready = true, known = ready, untried, atOnce, fields = [], onClose, submit, children }: Children & { title: string; button: string; kind?: "main" | "danger"; ready?: boolean; known?: boolean; untried?: boolean; atOnce?: boolean; fields?: string[]; onClose: () => void; submit: () => Promise<unknown> }) {
	const action = useAction();
	const [would, setWould] = useState<Tried[] | "unknown" | null>(null);
	const told = useRef<HTMLDivElement>(null);
	const atField = action.problem && fields.includes(action.problem.field) ? action.problem : null;
	useEffect(() => { if (would) told.current?.scrollIntoView({ block: "nearest" }); }, [would]);
	useEffect(() => { if (atOnce) void action.run(look, true); }, []);
	async function look() {
		try {
			setWould(await tryOut(submit));
		} catch (error) {
			if (problemOf(error).code !== "no_dry_run") throw error;
			setWould("unknown");
		}
	}
	// What was said holds for what was entered then.
	const changed = () => {
		setWould(null);
		if (atField) action.clear();
	};
	return (
		<Dialog title={title} onClose={onClose} tone={kind === "danger" ? "danger" : undefined}>
			<form onInput={changed} onClick={(event) => { if ((event.target as Element).closest("button:not(.would *, .buttons *)")) setWould(null); }} onSubmit={async (event) => {
				event.preventDefault();
				if (!untried) await noTrial(); // a trial may wait for a dialog that is none
				if (ready && (await action.run(submit))) onClose();
			}}>
				<Refused.Provider value={atField}>{children}</Refused.Provider>
				<Trouble problem={atField ? null : action.problem} />
				<div class="would" role="status" ref={told}>{would && <Would would={would} />}</div>
				<div class="buttons">
					{!untried && <Button kind="quiet" disabled={!known || action.busy} onClick={() => { setWould(null); void action.run(look, true); }}>{t("would.button")}</Button>}
					<Button onClick={onClose}>{t("action.cancel")}</Button>
					<Button kind={kind} submit busy={action.busy} disabled={!ready}>{button}</Button>
				</div>
			</form>
		</Dialog>
	);
}

/** What a button takes away without a form of its own: asked for first, with what it will change. */
interface Asked { title: string; text?: string; done: string; method: string; path: string; body?: unknown; end: (went: boolean) => void }
const asked = signal<Asked | null>(null);

export const actAsked = (title: string, done: string, method: string, path: string, body?: unknown, text?: string) => new Promise<boolean>((end) => { asked.value = { title, text, done, method, path, body, end }; });

export function Sure() {
	const one = asked.value;
	if (!one) return null;
	const end = (went: boolean) => {
		if (asked.value !== one) return;
		asked.value = null;
		one.end(went);
	};
	return (
		<FormDialog atOnce title={one.title} button={t("confirm.go")} kind="danger" onClose={() => end(false)} submit={async () => {
			await call(one.method, one.path, one.body ?? {});
			notice(one.done);
			end(true);
		}}>
			{one.text && <p class="prose">{one.text}</p>}
		</FormDialog>
	);
}

/** What takes something away for good: its name has to be typed. */
export function DeleteDialog({ title, name, text, button, untried, onClose, submit }: { title: string; name: string; text: ComponentChildren; button: string; untried?: boolean; onClose: () => void; submit: () => Promise<unknown> }) {
	const [typed, setTyped] = useState("");
	return (
		<FormDialog title={title} button={button} kind="danger" ready={typed.trim() === name} known untried={untried} onClose={onClose} submit={submit}>
			<div class="prose">{text}</div>
			<Input label={t("delete.type", { name })} value={typed} onValue={setTyped} />
		</FormDialog>
	);
}

// --- tables ------------------------------------------------------------------------------------

export interface Column<T> { key: string; title: string; show: (row: T) => ComponentChildren; number?: boolean; text?: (row: T) => string | number }

/** Up to so many rows are all there. */
const WHOLE = 100;
const MARGIN = 16, STEP = 8;
const order = new Intl.Collator(undefined, { numeric: true });

/** Of many rows only those near the screen are there: which, and how much room the others take. */
function useWindow(count: number) {
	const body = useRef<HTMLTableSectionElement>(null);
	const height = useRef(0);
	const [span, setSpan] = useState<[number, number]>([0, WHOLE]);
	useLayoutEffect(() => {
		if (count <= WHOLE) return;
		let frame = 0;
		function look() {
			frame = 0;
			const rows = body.current?.rows;
			if (!rows) return;
			// Measured once: were it to change, what is on the screen would jump.
			if (!height.current && rows.length > 2) height.current = (rows[rows.length - 2].getBoundingClientRect().bottom - rows[1].getBoundingClientRect().top) / (rows.length - 2);
			const tall = height.current || 45, top = -body.current!.getBoundingClientRect().top / tall;
			const last = Math.min(count, Math.max(WHOLE, STEP * Math.ceil((top + innerHeight / tall + MARGIN) / STEP)));
			const first = Math.max(0, Math.min(STEP * Math.floor((top - MARGIN) / STEP), last - STEP));
			setSpan((old) => (old[0] === first && old[1] === last ? old : [first, last]));
		}
		const soon = () => { frame ||= requestAnimationFrame(look); };
		const resized = () => { height.current = 0; soon(); };
		look();
		document.addEventListener("scroll", soon, { capture: true, passive: true });
		addEventListener("resize", resized);
		return () => {
			cancelAnimationFrame(frame);
			document.removeEventListener("scroll", soon, { capture: true });
			removeEventListener("resize", resized);
		};
	}, [count]);
	const [first, last] = count <= WHOLE ? [0, count] : [Math.min(span[0], count - 1), Math.min(span[1], count)];
	return { body, first, last, above: first * height.current, below: (count - last) * (height.current || 45) };
}

const Gap = ({ height, columns }: { height: number; columns: number }) => <tr class="gap" aria-hidden="true"><td colSpan={columns} style={{ height: `${height}px` }} /></tr>;

function arranged<T>(rows: T[], column: Column<T> | undefined, down: boolean, wanted: string, find?: (row: T) => string): T[] {
	const shown = wanted && find ? rows.filter((row) => find(row).toLowerCase().includes(wanted.toLowerCase())) : rows;
	if (!column) return shown;
	const keyed = shown.map((row) => ({ row, key: column.text!(row) }));
	keyed.sort((a, b) => (down ? -1 : 1) * (typeof a.key === "number" && typeof b.key === "number" ? a.key - b.key : order.compare(String(a.key), String(b.key))));
	return keyed.map((one) => one.row);
}

/** Rows that are found by typing and sorted by a click; on a phone each row is a card. */
export function Table<T>({ rows, columns, id, find, caption }: { rows: T[]; columns: Column<T>[]; id: (row: T) => string | number; find?: (row: T) => string; caption: string }) {
	const [wanted, setWanted] = useState("");
	const [sort, setSort] = useState<{ key: string; down: boolean } | null>(null);
	const column = columns.find((one) => one.key === sort?.key && one.text);
	const shown = useMemo(() => arranged(rows, column, !!sort?.down, wanted, find), [rows, wanted, sort]);
	const { body, first, last, above, below } = useWindow(shown.length);
	const cut = shown.length > WHOLE;
	return (
		<div class="table">
			{find && rows.length > 8 && (
				<div class="find"><Icon name="search" /><input type="search" value={wanted} placeholder={t("table.find")} aria-label={t("table.find")} onInput={(event) => setWanted(event.currentTarget.value)} />{cut && <span class="small">{t("table.count", { count: number(shown.length) })}</span>}</div>
			)}
			<table aria-rowcount={cut ? shown.length + 1 : undefined}>
				<caption class="unseen">{caption}</caption>
				<thead>
					<tr>
						{columns.map((one) => (
							<th key={one.key} scope="col" class={one.number ? "number" : undefined} aria-sort={sort?.key === one.key ? (sort.down ? "descending" : "ascending") : undefined}>
								{one.text ? <button type="button" onClick={() => setSort({ key: one.key, down: sort?.key === one.key && !sort.down })}>{one.title}{sort?.key === one.key && <span aria-hidden="true">{sort.down ? " ↓" : " ↑"}</span>}</button> : one.title || <span class="unseen">{t("table.actions")}</span>}
							</th>
						))}
					</tr>
				</thead>
				<tbody ref={body}>
					{cut && <Gap key="above" height={above} columns={columns.length} />}
					{shown.slice(first, last).map((row, at) => (
						<tr key={id(row)} aria-rowindex={cut ? first + at + 2 : undefined}>
							{columns.map((one) => <td key={one.key} data-title={one.title} class={`${one.number ? "number" : ""}${one.title ? "" : " does"}`}>{one.show(row)}</td>)}
						</tr>
					))}
					{cut && <Gap key="below" height={below} columns={columns.length} />}
				</tbody>
			</table>
			{shown.length === 0 && <p class="none">{t("table.nothing")}</p>}
		</div>
	);
}
