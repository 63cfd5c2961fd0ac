// SPDX-License-Identifier: Apache-2.0
// What is wrong and what to do about it; where it is told.
import { useState } from "preact/hooks";
import { call, can, part } from "../api";
import { duration, percent, time } from "../format";
import { Icon } from "../icons";
import { useResource } from "../live";
import { act, Badge, Button, Card, Check, DeleteDialog, Empty, FormDialog, Input, notice, Page, Select, Table, Waiting, type Tone } from "../parts";
import { to } from "../route";
import { language, maybe, t } from "../text";
import type { Alert, AlertChannel, AlertRule, AlertSilence } from "../types";

export const alertText = (alert: Alert) => (language.value === "zh" ? alert.text_zh : alert.text);
export const alertTodo = (alert: Alert) => (language.value === "zh" ? alert.todo_zh : alert.todo);
export const alertTone = (alert: Alert): "bad" | "warn" => (alert.severity === "critical" ? "bad" : "warn");
const ruleText = (rule: AlertRule) => (language.value === "zh" ? rule.text_zh : rule.text).replace(/[:：]?\s*[（(]?\{(detail|value)\}[）)]?/g, "").replace(/\{object\}/g, "…");
const stateTones: Record<Alert["state"], Tone> = { firing: "bad", acknowledged: "busy", silenced: "quiet", cleared: "good" };

/** Where what an alert is about can be looked at. */
export function alertPlace(alert: Alert): string {
	const { rule, object } = alert;
	if (/^pool-device|^state-/.test(rule)) return to("pools");
	if (rule.startsWith("pool-")) return to("pools", object);
	if (rule.startsWith("replica-")) return to("replication");
	if (/^(lun|target)-/.test(rule)) return to("targets", object.split(" ")[0]);
	if (rule.startsWith("share-")) return to("shares", ...object.split("/"));
	if (rule.startsWith("directory-")) return to("shares", object);
	if (/^(certificate|release|restore)-/.test(rule)) return to("settings");
	if (/^(disk|ups)-/.test(rule)) return to("hardware");
	return rule.startsWith("channel-") ? to("alerts") : to("volumes");
}

/** The worst first, then the newest. */
export function byWeight(a: Alert, b: Alert): number {
	const order = ["critical", "warning", "info"];
	return order.indexOf(a.severity) - order.indexOf(b.severity) || b.id - a.id;
}

const severities = (): [string, string][] => ["info", "warning", "critical"].map((one) => [one, maybe(`severity.${one}`) ?? one]);

function Silence({ alert, onClose }: { alert: Alert; onClose: () => void }) {
	const [length, setLength] = useState("2h");
	const [all, setAll] = useState(false);
	const [reason, setReason] = useState("");
	const lengths: [string, string][] = [["30m", duration(1800)], ["2h", duration(7200)], ["8h", duration(28800)], ["1d", duration(86400)], ["7d", duration(604800)]];
	return (
		<FormDialog title={t("alerts.silenceTitle")} button={t("alerts.silence")} onClose={onClose} submit={async () => {
			await call("POST", "/alert-silences", { for: length, rule: alert.rule, object: all ? "" : alert.object, reason });
			notice(t("alerts.silencedNow"));
		}}>
			<p class="prose">{t("alerts.silenceText")}</p>
			<Select label={t("alerts.silenceFor")} value={length} onValue={setLength} options={lengths} />
			<Check label={t("alerts.silenceAll")} value={all} onValue={setAll} />
			<Input label={t("alerts.reason")} value={reason} onValue={setReason} />
		</FormDialog>
	);
}

function One({ alert, onSilence }: { alert: Alert; onSilence: () => void }) {
	return (
		<li class={alert.state === "firing" ? alertTone(alert) : "calm"}>
			<Icon name="warning" />
			<div>
				<a href={alertPlace(alert)}>{alertText(alert)}</a>
				<p>{alertTodo(alert)}</p>
				<p class="small quiet">{t("alerts.since", { time: time(alert.fired * 1000) })}{alert.acknowledged_by && <> · {t("alerts.ackedBy", { name: alert.acknowledged_by })}</>}</p>
				{alert.clears && <p class="small">{t("alerts.clears", { time: time(alert.clears * 1000) })}</p>}
				{alert.clears_below && <p class="small">{t("alerts.clearsBelow", { percent: percent(alert.clears_below, 100) })}</p>}
			</div>
			<div class="alert-acts">
				<Badge tone={alert.state === "firing" ? alertTone(alert) : stateTones[alert.state]}>{alert.state === "firing" ? maybe(`severity.${alert.severity}`) : maybe(`alertstate.${alert.state}`)}</Badge>
				{can("operator") && alert.state === "firing" && <>
					<Button label={t("alerts.ackNamed", { text: alertText(alert) })} onClick={() => act(t("alerts.acked"), "POST", `/alerts/${alert.id}/ack`)}>{t("alerts.ack")}</Button>
					<Button label={t("alerts.silenceNamed", { text: alertText(alert) })} onClick={onSilence}>{t("alerts.silence")}</Button>
				</>}
			</div>
		</li>
	);
}

function Current() {
	const { data, problem } = useResource<Alert[]>("/alerts");
	const [silencing, setSilencing] = useState<Alert | null>(null);
	if (!data) return <Waiting problem={problem} />;
	if (!data.length) return <div class="health good"><Icon name="check" /><div><strong>{t("health.good")}</strong><p>{t("health.goodText")}</p></div></div>;
	return (
		<>
			<ul class="alerts" aria-label={t("health.alerts")}>
				{[...data].sort(byWeight).map((alert) => <One key={alert.id} alert={alert} onSilence={() => setSilencing(alert)} />)}
			</ul>
			{silencing && <Silence alert={silencing} onClose={() => setSilencing(null)} />}
		</>
	);
}

function Past() {
	const list = (useResource<Alert[]>("/alerts?all=1").data ?? []).filter((one) => one.state === "cleared").sort((a, b) => (b.cleared ?? 0) - (a.cleared ?? 0));
	return (
		<Card flush title={t("alerts.past")}>
			{list.length === 0 ? <p class="none">{t("alerts.pastNone")}</p> : (
				<Table caption={t("alerts.past")} rows={list} id={(row) => row.id} find={alertText} columns={[
					{ key: "text", title: t("alerts.what"), show: (row) => <span class="name">{alertText(row)}</span> },
					{ key: "severity", title: t("alerts.severity"), text: (row) => row.severity, show: (row) => maybe(`severity.${row.severity}`) ?? row.severity },
					{ key: "fired", title: t("alerts.fired"), text: (row) => row.fired, show: (row) => time(row.fired * 1000) },
					{ key: "cleared", title: t("alerts.cleared"), text: (row) => row.cleared ?? 0, show: (row) => time((row.cleared ?? 0) * 1000) },
				]} />
			)}
		</Card>
	);
}

function Silences() {
	const list = useResource<AlertSilence[]>("/alert-silences").data ?? [];
	if (!list.length) return null;
	return (
		<Card flush title={t("alerts.silences")}>
			<Table caption={t("alerts.silences")} rows={list} id={(row) => row.id} columns={[
				{ key: "what", title: t("alerts.what"), show: (row) => <span class="name">{row.rule || t("alerts.everyRule")}<small>{row.object || t("alerts.everyObject")}</small></span> },
				{ key: "until", title: t("snapshots.until"), show: (row) => time(row.until * 1000) },
				{ key: "by", title: t("tokens.maker"), show: (row) => <>{row.by}{row.reason && <small class="reason">{row.reason}</small>}</> },
				{ key: "does", title: "", show: (row) => <Button kind="quiet" role="operator" icon="close" label={t("alerts.endSilence")} onClick={() => act(t("alerts.silenceEnded"), "DELETE", `/alert-silences/${row.id}`)} /> },
			]} />
		</Card>
	);
}

// --- where it is told --------------------------------------------------------------------------

type Kind = "email" | "dingtalk" | "wecom" | "feishu" | "slack" | "generic" | "syslog" | "snmp";
const kinds: Kind[] = ["email", "dingtalk", "wecom", "feishu", "slack", "generic", "syslog", "snmp"];
const places: Record<Kind, string> = {
	email: "smtp://mail.example.com:587", dingtalk: "https://oapi.dingtalk.com/robot/send?access_token=…", wecom: "https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=…",
	feishu: "https://open.feishu.cn/open-apis/bot/v2/hook/…", slack: "https://hooks.slack.com/services/…", generic: "https://example.com/hook", syslog: "tls://10.0.0.5:6514", snmp: "udp://10.0.0.5:162",
};
const secretOf: Partial<Record<Kind, "alerts.password" | "alerts.signing" | "alerts.community">> = { email: "alerts.password", dingtalk: "alerts.signing", feishu: "alerts.signing", generic: "alerts.signing", snmp: "alerts.community" };

function NewChannel({ onClose }: { onClose: () => void }) {
	const [name, setName] = useState("");
	const [kind, setKind] = useState<Kind>("email");
	const [url, setUrl] = useState("");
	const [from, setFrom] = useState("");
	const [recipients, setRecipients] = useState("");
	const [user, setUser] = useState("");
	const [secret, setSecret] = useState("");
	const [least, setLeast] = useState("warning");
	const [audit, setAudit] = useState(false);
	const secretText = secretOf[kind], list = recipients.split(/[\s,;]+/).filter(Boolean);
	return (
		<FormDialog title={t("alerts.newChannel")} button={t("action.create")} ready={name !== "" && url !== "" && (kind !== "email" || (from !== "" && list.length > 0))} onClose={onClose} submit={async () => {
			const body: Record<string, unknown> = { name, url: url.trim(), severity: least, language: language.value === "zh" ? "zh-CN" : "en", kind: kind === "email" || kind === "syslog" || kind === "snmp" ? kind : "webhook" };
			if (body.kind === "webhook") body.preset = kind;
			if (kind === "email") Object.assign(body, { from: from.trim(), to: list }, user && { user: user.trim() });
			if (secret && secretText) body.secret = secret;
			if (kind === "syslog" && audit) body.audit = true;
			await call("POST", "/alert-channels", body);
			notice(t("alerts.channelMade", { name }));
		}}>
			<Input label={t("field.name")} value={name} onValue={setName} autoFocus />
			<Select label={t("alerts.kind")} value={kind} onValue={(value) => setKind(value as Kind)} options={kinds.map((one): [string, string] => [one, maybe(`channel.${one}`) ?? one])} />
			<Input label={t("alerts.url")} value={url} onValue={setUrl} placeholder={places[kind]} hint={kind === "email" ? t("alerts.urlMail") : kind === "syslog" ? t("alerts.urlSyslog") : kind === "snmp" ? t("alerts.urlSnmp") : t("alerts.urlHook")} />
			{kind === "email" && <>
				<Input label={t("alerts.from")} value={from} onValue={setFrom} placeholder="granary@example.com" />
				<Input label={t("alerts.to")} value={recipients} onValue={setRecipients} placeholder="ops@example.com" hint={t("alerts.toHint")} />
				<Input label={t("entry.name")} value={user} onValue={setUser} hint={t("alerts.userHint")} />
			</>}
			{secretText && <Input label={t(secretText)} type="password" autocomplete="new-password" value={secret} onValue={setSecret} hint={t("alerts.secretHint")} />}
			{kind === "syslog" && <Check label={t("alerts.audit")} value={audit} onValue={setAudit} />}
			<Select label={t("alerts.least")} value={least} onValue={setLeast} options={severities()} />
		</FormDialog>
	);
}

/** What is left empty of secrets, and of the address of a webhook, stays: neither is ever shown. */
function ChangeChannel({ channel, onClose }: { channel: AlertChannel; onClose: () => void }) {
	const hook = channel.kind === "webhook", mail = channel.kind === "email";
	const [enabled, setEnabled] = useState(channel.enabled);
	const [url, setUrl] = useState(hook ? "" : channel.place);
	const [from, setFrom] = useState(channel.from);
	const [recipients, setRecipients] = useState(channel.to.join(", "));
	const [user, setUser] = useState(channel.user);
	const [secret, setSecret] = useState("");
	const [least, setLeast] = useState<string>(channel.severity);
	const [audit, setAudit] = useState(channel.audit);
	const secretText = secretOf[(hook ? channel.preset : channel.kind) as Kind], list = recipients.split(/[\s,;]+/).filter(Boolean);
	const body = {
		...(enabled !== channel.enabled && { enabled }),
		...(url.trim() !== (hook ? "" : channel.place) && { url: url.trim() }),
		...(mail && from.trim() !== channel.from && { from: from.trim() }),
		...(mail && list.join() !== channel.to.join() && { to: list }),
		...(mail && user.trim() !== channel.user && { user: user.trim() }),
		...(secret && { secret }),
		...(least !== channel.severity && { severity: least }),
		...(audit !== channel.audit && { audit }),
	};
	const whole = (hook || url.trim() !== "") && (!mail || (from.trim() !== "" && list.length > 0));
	return (
		<FormDialog title={t("alerts.changeChannel", { name: channel.name })} button={t("action.save")} ready={whole && Object.keys(body).length > 0} onClose={onClose} submit={() => call("PATCH", `/alert-channels/${part(channel.name)}`, body)}>
			<Check label={t("alerts.sends")} value={enabled} onValue={setEnabled} />
			<Input label={t("alerts.url")} value={url} onValue={setUrl} hint={hook ? t("alerts.urlStays", { place: channel.place }) : undefined} />
			{mail && <>
				<Input label={t("alerts.from")} value={from} onValue={setFrom} />
				<Input label={t("alerts.to")} value={recipients} onValue={setRecipients} hint={t("alerts.toHint")} />
				<Input label={t("entry.name")} value={user} onValue={setUser} hint={t("alerts.userHint")} />
			</>}
			{secretText && <Input label={t(secretText)} type="password" autocomplete="new-password" value={secret} onValue={setSecret} hint={t("alerts.secretStays")} />}
			{channel.kind === "syslog" && <Check label={t("alerts.audit")} value={audit} onValue={setAudit} />}
			<Select label={t("alerts.least")} value={least} onValue={setLeast} options={severities()} />
		</FormDialog>
	);
}

function ChannelState({ channel }: { channel: AlertChannel }) {
	if (!channel.enabled) return <Badge tone="quiet">{t("alerts.off")}</Badge>;
	if (channel.failures) return <><Badge tone="bad">{t("alerts.failing", { count: channel.failures })}</Badge><small class="reason" lang="en">{channel.error}</small></>;
	return <Badge tone="good">{channel.last_delivery ? t("alerts.lastSent", { time: time(channel.last_delivery * 1000) }) : t("alerts.ready")}</Badge>;
}

function Test({ name }: { name: string }) {
	const [busy, setBusy] = useState(false);
	return <Button role="operator" busy={busy} label={t("alerts.testNamed", { name })} onClick={async () => { setBusy(true); await act(t("alerts.tested", { name }), "POST", `/alert-channels/${part(name)}/test`); setBusy(false); }}>{t("alerts.test")}</Button>;
}

function Channels() {
	const { data, problem } = useResource<AlertChannel[]>("/alert-channels");
	const [open, setOpen] = useState<"new" | AlertChannel | null>(null);
	const [changed, setChanged] = useState<AlertChannel | null>(null);
	const close = () => setOpen(null);
	return (
		<Card flush title={t("alerts.channels")} actions={<Button role="admin" icon="plus" onClick={() => setOpen("new")}>{t("alerts.newChannel")}</Button>}>
			{!data ? <Waiting problem={problem} /> : data.length === 0 ? <Empty icon="bell" title={t("alerts.noChannel")} text={t("alerts.noChannelText")} /> : (
				<Table caption={t("alerts.channels")} rows={data} id={(row) => row.name} columns={[
					{ key: "name", title: t("field.name"), text: (row) => row.name, show: (row) => <span class="name"><strong>{row.name}</strong><small>{maybe(`channel.${row.preset || row.kind}`)}{row.audit && ` · ${t("nav.audit")}`}</small></span> },
					{ key: "place", title: t("alerts.url"), show: (row) => <span class="mono name">{row.place}{row.to.length > 0 && <small>{row.to.join(", ")}</small>}</span> },
					{ key: "least", title: t("alerts.least"), show: (row) => maybe(`severity.${row.severity}`) ?? row.severity },
					{ key: "state", title: t("field.state"), show: (row) => <ChannelState channel={row} /> },
					{ key: "does", title: "", show: (row) => <div class="row-actions"><Test name={row.name} /><Button kind="quiet" role="admin" icon="edit" label={t("alerts.changeChannel", { name: row.name })} onClick={() => setChanged(row)} /><Button kind="quiet" role="admin" icon="trash" label={t("alerts.deleteChannel", { name: row.name })} onClick={() => setOpen(row)} /></div> },
				]} />
			)}
			{open === "new" && <NewChannel onClose={close} />}
			{changed && <ChangeChannel channel={changed} onClose={() => setChanged(null)} />}
			{open && open !== "new" && <DeleteDialog title={t("alerts.deleteChannel", { name: open.name })} name={open.name} button={t("action.delete")} onClose={close} text={<p>{t("alerts.deleteText")}</p>} submit={() => call("DELETE", `/alert-channels/${part(open.name)}`)} />}
		</Card>
	);
}

// --- what is watched ---------------------------------------------------------------------------

function ChangeRule({ rule, onClose }: { rule: AlertRule; onClose: () => void }) {
	const [enabled, setEnabled] = useState(rule.enabled);
	const [severity, setSeverity] = useState<string>(rule.severity);
	const [after, setAfter] = useState(String(rule.after_seconds));
	const [clear, setClear] = useState(String(rule.clear_seconds));
	const [level, setLevel] = useState(String(rule.level ?? ""));
	const digits = (text: string) => text.replace(/\D/g, "");
	return (
		<FormDialog title={t("alerts.changeRule", { name: rule.rule })} button={t("action.save")} ready={after !== "" && clear !== ""} onClose={onClose} submit={() => call("PATCH", `/alert-rules/${part(rule.rule)}`, { enabled, severity, after: `${after}s`, clear: `${clear}s`, ...(rule.level !== undefined && level !== "" && { level: parseInt(level, 10) }) })}>
			<Check label={t("alerts.watch")} value={enabled} onValue={setEnabled} />
			<Select label={t("alerts.severity")} value={severity} onValue={setSeverity} options={severities()} />
			{rule.level !== undefined && <Input label={t("alerts.level", { unit: rule.unit ?? "" })} inputMode="numeric" value={level} onValue={(text) => setLevel(digits(text))} />}
			<Input label={t("alerts.after")} inputMode="numeric" value={after} onValue={(text) => setAfter(digits(text))} />
			<Input label={t("alerts.clear")} inputMode="numeric" value={clear} onValue={(text) => setClear(digits(text))} />
		</FormDialog>
	);
}

function Rules() {
	const { data, problem } = useResource<AlertRule[]>("/alert-rules");
	const [open, setOpen] = useState<AlertRule | null>(null);
	return (
		<Card flush title={t("alerts.rules")}>
			{!data ? <Waiting problem={problem} /> : (
				<Table caption={t("alerts.rules")} rows={data} id={(row) => row.rule} find={(row) => `${row.rule} ${ruleText(row)}`} columns={[
					{ key: "rule", title: t("alerts.rule"), text: (row) => row.rule, show: (row) => <span class="name">{ruleText(row)}<small class="mono">{row.rule}</small></span> },
					{ key: "severity", title: t("alerts.severity"), text: (row) => row.severity, show: (row) => row.enabled ? maybe(`severity.${row.severity}`) ?? row.severity : <Badge tone="quiet">{t("alerts.off")}</Badge> },
					{ key: "level", title: t("alerts.levelShort"), number: true, show: (row) => (row.level !== undefined ? `${row.level} ${row.unit}` : "–") },
					{ key: "after", title: t("alerts.afterShort"), number: true, show: (row) => duration(row.after_seconds) },
					{ key: "does", title: "", show: (row) => <Button kind="quiet" role="operator" icon="edit" label={t("alerts.changeRule", { name: row.rule })} onClick={() => setOpen(row)} /> },
				]} />
			)}
			{open && <ChangeRule rule={open} onClose={() => setOpen(null)} />}
		</Card>
	);
}

export function Alerts() {
	return (
		<Page title={t("nav.alerts")} lead={t("alerts.lead")}>
			<Current />
			<Silences />
			{can("operator") && <Channels />}
			<Past />
			<Rules />
		</Page>
	);
}
