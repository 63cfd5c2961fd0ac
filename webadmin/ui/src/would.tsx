// SPDX-License-Identifier: Apache-2.0
// What an action would change, as its dry run has said, and the same as commands.
import type { ComponentChildren } from "preact";
import type { Tried } from "./api";
import { bytes, duration, number, time } from "./format";
import { cliOf, curlOf } from "./pages/cli";
import { Snippet } from "./parts";
import { maybe, t } from "./text";

type Members = Record<string, unknown>;
const AT = /^(created|until|expires|hold_until|last_delivery)$/;

const nameOf = (name: string): string => name.startsWith("link ") ? `${t("machine.linkName")} ${name.slice(5)}` : maybe(`member.${name}`) ?? name.replaceAll("_", " ");
const isMembers = (value: unknown): value is Members => typeof value === "object" && value !== null && !Array.isArray(value);

/** A value for people; of what is in it likewise. */
function shown(name: string, value: unknown): string {
	if (value === undefined || value === null || value === "") return "–";
	if (typeof value === "boolean") return t(value ? "would.yes" : "would.no");
	if (typeof value === "number") return name.endsWith("_bytes") ? bytes(value) : name.endsWith("_seconds") ? duration(value) : AT.test(name) && value > 1e9 ? time(value * 1000) : number(value, 3);
	if (name === "role") return maybe(`replicarole.${value}`) ?? maybe(`role.${value}`) ?? String(value);
	if (Array.isArray(value)) return value.map((one) => shown(name, one)).join(", ") || "–";
	if (isMembers(value)) return (value.name as string) ?? Object.entries(value).filter(([, one]) => one !== "" && one !== null && one !== false && !(Array.isArray(one) && !one.length)).map(([key, one]) => `${nameOf(key)} ${shown(key, one)}`).join(" · ");
	return String(value);
}

function Row({ name, children }: { name: string; children: ComponentChildren }) {
	return <div><dt>{nameOf(name)}</dt><dd>{children}</dd></div>;
}

function Difference({ name, before, after }: { name: string; before: unknown; after: unknown }) {
	return (
		<Row name={name}>
			<span class="unseen">{t("would.before")} </span><del>{shown(name, before)}</del>
			<span aria-hidden="true"> → </span>
			<span class="unseen">{t("would.after")} </span><ins>{shown(name, after)}</ins>
		</Row>
	);
}

/** Of a change: each member before and after; of what is made or goes what there is of it. */
function Plan({ before, after }: { before: Members; after: Members }) {
	const names = [...new Set([...Object.keys(before), ...Object.keys(after)])];
	const both = Object.keys(before).length > 0 && Object.keys(after).length > 0;
	return (
		<dl class="facts">
			{names.map((name) => both ? <Difference key={name} name={name} before={before[name]} after={after[name]} />
				: <Row key={name} name={name}>{shown(name, before[name] ?? after[name])}</Row>)}
		</dl>
	);
}

function heading({ what, before, after }: { what?: string; before: Members; after: Members }) {
	if (!what) return t("would.concerns");
	const there = Object.keys(before).length, stays = Object.keys(after).length;
	return there && stays ? t("would.change") : stays ? t("would.make") : there ? t("would.gone") : t("would.nothing");
}

/** @goesOn: of the same as the one before it. */
function One({ tried, goesOn }: { tried: Tried; goesOn: boolean }) {
	const { dry_run: _, what, before = {}, after = {}, ...rest } = tried.answer;
	return (
		<>
			{!goesOn && <h3>{heading({ what, before, after })}{what && <code lang="en">{what}</code>}</h3>}
			<Plan before={before} after={what ? after : rest} />
		</>
	);
}

export function Commands({ all }: { all: Pick<Tried, "method" | "path" | "body">[] }) {
	const commands = all.map(cliOf);
	return (
		<details>
			<summary>{t("newlun.command")}</summary>
			{commands.every((one) => one) && <Snippet text={commands.join("\n")} label="granary" />}
			<Snippet text={all.map(curlOf).join("\n")} label="curl" />
		</details>
	);
}

/** Of each change; "unknown": it can not be tried out. */
export function Would({ would }: { would: Tried[] | "unknown" }) {
	if (would === "unknown" || !would.length) return <p class="small quiet">{t(would.length ? "would.unknown" : "would.nothing")}</p>;
	return (
		<>
			{would.map((one, at) => <One key={at} tried={one} goesOn={at > 0 && !!one.answer.what && one.answer.what === would[at - 1].answer.what} />)}
			<Commands all={would} />
		</>
	);
}
