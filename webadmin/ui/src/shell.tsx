// SPDX-License-Identifier: Apache-2.0
// The frame around the pages: who is signed in, where one can go, what has to be asked in between.
import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import { call, can, confirmer, identify, me, onlyReplication, Problem, problemOf, setupNeeded, type Role } from "./api";
import { Entry } from "./entry";
import { Icon, Mark, type IconName } from "./icons";
import { listening } from "./live";
import { look, type Look } from "./look";
import { Empty, FormDialog, Input, notice, Notices, Sure, Trouble } from "./parts";
import { Access } from "./pages/access";
import { Alerts } from "./pages/alerts";
import { Audit } from "./pages/audit";
import { Bin } from "./pages/bin";
import { Commands } from "./pages/commands";
import { Connect } from "./pages/connect";
import { Hardware } from "./pages/hardware";
import { Hosts } from "./pages/hosts";
import { Jobs } from "./pages/jobs";
import { NewLun } from "./pages/newlun";
import { Overview } from "./pages/overview";
import { Pool, Pools } from "./pages/pools";
import { Replication } from "./pages/replication";
import { Sessions } from "./pages/sessions";
import { Settings } from "./pages/settings";
import { Directory, Share, Shares } from "./pages/shares";
import { SmbPage } from "./pages/smb";
import { Snapshots } from "./pages/snapshots";
import { Support } from "./pages/support";
import { Target, Targets } from "./pages/targets";
import { Volumes } from "./pages/volumes";
import { route, to } from "./route";
import { language, setLanguage, t, type Key } from "./text";

interface Row { path: string; icon: IconName; title: Key; show: (rest: string[]) => JSX.Element; role?: Role; hidden?: boolean }

const rows: Row[] = [
	{ path: "", icon: "overview", title: "nav.overview", show: () => <Overview /> },
	{ path: "new", icon: "plus", title: "nav.new", show: () => <NewLun />, role: "provisioner", hidden: true },
	{ path: "connect", icon: "target", title: "nav.connect", show: ([iqn]) => <Connect iqn={iqn ?? ""} />, hidden: true },
	{ path: "volumes", icon: "disk", title: "nav.volumes", show: () => <Volumes /> },
	{ path: "snapshots", icon: "snapshot", title: "snapshots.title", show: ([pool, name]) => <Snapshots key={`${pool}/${name}`} pool={pool ?? ""} name={name ?? ""} />, hidden: true },
	{ path: "targets", icon: "target", title: "nav.targets", show: ([iqn]) => iqn ? <Target iqn={iqn} /> : <Targets /> },
	{ path: "hosts", icon: "hosts", title: "nav.hosts", show: () => <Hosts /> },
	{ path: "sessions", icon: "session", title: "nav.sessions", show: () => <Sessions /> },
	{ path: "shares", icon: "share", title: "nav.shares", show: ([pool, name]) => name ? <Share pool={pool} name={name} /> : pool ? <Directory name={pool} /> : <Shares /> },
	{ path: "smb", icon: "share", title: "nav.smb", show: () => <SmbPage /> },
	{ path: "pools", icon: "pool", title: "nav.pools", show: ([name]) => name ? <Pool name={name} /> : <Pools /> },
	{ path: "bin", icon: "trash", title: "nav.bin", show: () => <Bin /> },
	{ path: "hardware", icon: "bolt", title: "nav.hardware", show: () => <Hardware /> },
	{ path: "replication", icon: "replication", title: "nav.replication", show: () => <Replication /> },
	{ path: "alerts", icon: "bell", title: "nav.alerts", show: () => <Alerts /> },
	{ path: "jobs", icon: "jobs", title: "nav.jobs", show: () => <Jobs /> },
	{ path: "support", icon: "gauge", title: "nav.support", show: () => <Support /> },
	{ path: "access", icon: "people", title: "nav.access", show: () => <Access />, role: "admin" },
	{ path: "audit", icon: "audit", title: "nav.audit", show: () => <Audit />, role: "operator" },
	{ path: "commands", icon: "commands", title: "nav.commands", show: () => <Commands /> },
	{ path: "settings", icon: "settings", title: "nav.settings", show: () => <Settings /> },
];

/** Who may not see a page does not find it. */
const shows = (row: Row) => (onlyReplication() ? ["replication", "jobs", "commands", "settings"].includes(row.path) : !row.role || can(row.role));

const groups: { title?: Key; paths: string[] }[] = [
	{ paths: [""] },
	{ title: "group.block", paths: ["volumes", "targets", "hosts", "sessions"] },
	{ title: "group.file", paths: ["shares", "smb"] },
	{ title: "group.box", paths: ["pools", "bin", "hardware", "replication", "alerts", "jobs", "support"] },
	{ title: "group.admin", paths: ["access", "audit", "commands", "settings"] },
];

function Link({ row, onGo }: { row: Row; onGo: () => void }) {
	const here = route.value[0] === row.path || (row.path === "targets" && route.value[0] === "connect") || (row.path === "volumes" && route.value[0] === "snapshots");
	return (
		<a href={to(row.path)} class={here ? "here" : undefined} aria-current={here ? "page" : undefined} onClick={onGo}>
			<Icon name={row.icon} /> {t(row.title)}
		</a>
	);
}

function Navigation({ onGo }: { onGo: () => void }) {
	return (
		<nav aria-label={t("nav.label")}>
			{can("provisioner") && <a class="button main new" href={to("new")} onClick={onGo}><Icon name="plus" /> {t("nav.new")}</a>}
			{groups.map((group) => {
				const shown = group.paths.map((path) => rows.find((row) => row.path === path)!).filter(shows);
				return shown.length > 0 && (
					<div key={group.paths[0]} class="group">
						{group.title && <h2>{t(group.title)}</h2>}
						{shown.map((row) => <Link key={row.path} row={row} onGo={onGo} />)}
					</div>
				);
			})}
		</nav>
	);
}

/** Language and look: the same two switches before and after signing in. */
export function Switches() {
	const looks: Look[] = ["auto", "light", "dark"];
	const next = looks[(looks.indexOf(look.value) + 1) % looks.length];
	const icon: IconName = look.value === "auto" ? "auto" : look.value === "light" ? "sun" : "moon";
	const words = { auto: t("look.auto"), light: t("look.light"), dark: t("look.dark") };
	return (
		<div class="switches">
			<button type="button" class="quiet-button" lang={language.value === "zh" ? "en" : "zh-CN"} onClick={() => setLanguage(language.value === "zh" ? "en" : "zh")}>
				{language.value === "zh" ? "English" : "简体中文"}
			</button>
			<button type="button" class="quiet-button" aria-label={t("look.switch", { now: words[look.value] })} title={words[look.value]} onClick={() => { look.value = next; }}>
				<Icon name={icon} />
			</button>
		</div>
	);
}

async function leave() {
	try {
		await call("POST", "/logout", {});
	} catch (error) {
		notice(problemOf(error).detail, true);
	}
	me.value = null;
	location.hash = "";
}

function Who() {
	return (
		<div class="who">
			<div><strong>{me.value!.name}</strong><span>{t(`role.${me.value!.role}` as Key)}</span></div>
			<button type="button" class="quiet-button" onClick={leave} aria-label={t("entry.leave")} title={t("entry.leave")}><Icon name="out" /></button>
		</div>
	);
}

/** Asks for the password again when the daemon wants it for what is about to be done. */
function Confirmer() {
	const asked = useSignal<((given: boolean) => void) | null>(null);
	const [password, setPassword] = useState("");
	useEffect(() => {
		confirmer.ask = () => new Promise((resolve) => { setPassword(""); asked.value = resolve; });
	}, []);
	const done = asked.value;
	if (!done) return null;
	const end = (given: boolean) => { asked.value = null; done(given); };
	return (
		<FormDialog untried title={t("confirm.title")} button={t("confirm.go")} ready={password !== ""} onClose={() => { if (asked.value) end(false); }} submit={async () => { await call("POST", "/me/confirm", { password }); end(true); }}>
			<p class="prose">{t("confirm.text")}</p>
			<Input label={t("entry.password")} type="password" autocomplete="current-password" value={password} onValue={setPassword} autoFocus />
		</FormDialog>
	);
}

function Current() {
	const [path, ...rest] = route.value;
	const row = rows.find((one) => one.path === path);
	if (path === "" && onlyReplication()) return <Replication />;
	if (!row || !shows(row)) return <Empty icon="search" title={t("page.none")} text={t("page.noneText")} />;
	return row.show(rest);
}

function Frame() {
	const [open, setOpen] = useState(false);
	const close = () => setOpen(false);
	return (
		<div class={open ? "frame open" : "frame"}>
			<a class="skip" href="#content" onClick={(event) => { event.preventDefault(); document.getElementById("content")?.focus(); }}>{t("nav.skip")}</a>
			<header class="bar">
				<a class="brand" href={to("")}><Mark /> Granary</a>
				<button type="button" class="quiet-button" aria-expanded={open} aria-label={t("nav.menu")} onClick={() => setOpen(!open)}><Icon name={open ? "close" : "menu"} /></button>
			</header>
			<aside class="side">
				<a class="brand" href={to("")} onClick={close}><Mark /> Granary</a>
				<Navigation onGo={close} />
				<div class="foot">
					<Who />
					<Switches />
				</div>
			</aside>
			<main id="content" tabIndex={-1}>
				{!listening.value && <span class="unseen">{t("state.polling")}</span>}
				<Current />
			</main>
			<Sure />
			<Confirmer />
		</div>
	);
}

export function App() {
	const [problem, setProblem] = useState<Problem | null>(null);
	async function start() {
		setProblem(null);
		try {
			await identify();
		} catch (error) {
			setProblem(problemOf(error));
		}
	}
	useEffect(() => { void start(); }, []);
	useEffect(() => { if (me.value === null && !setupNeeded.value) document.title = "Granary"; }, [me.value]);
	return (
		<>
			{problem ? <div class="entry"><Trouble problem={problem} retry={start} /></div> : me.value === undefined ? <div class="entry"><span class="spinner" /></div> : me.value ? <Frame key={language.value} /> : <Entry />}
			<Notices />
		</>
	);
}

