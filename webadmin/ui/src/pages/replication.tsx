// SPDX-License-Identifier: Apache-2.0
// The other machine: pairing, groups of volumes that go there, and changing sides.
import { useState } from "preact/hooks";
import { call, can, canReplicate, part } from "../api";
import { bytes, duration, number } from "../format";
import { useResource } from "../live";
import { act, actAsked, Badge, Button, Card, DeleteDialog, Dialog, Empty, Facts, FormDialog, Input, notice, Page, Select, Snippet, Trouble, useAction, Waiting, type Tone } from "../parts";
import { maybe, t } from "../text";
import type { Group } from "../types";
import { Addresses, Boxes, Members, pathOf, Points, Settings, UnderTest, verifyText } from "./replicasteps";
import { Export, Import, SeedBy, SeedNow, waitsForSeed } from "./replicaseed";
import { PromotedNote, Witness, witnessText } from "./witness";

interface Peer { uuid: string; name: string; address: string; port: number }

const broken = ["split-brain", "unavailable"], idle = ["paused", "disconnected", "not connected", "waiting for its seed"], busy = ["greeting", "seeding", "catching up"];

function toneOf(group: Group): Tone {
	if (broken.includes(group.state)) return "bad";
	if (idle.includes(group.state)) return "warn";
	if (busy.includes(group.state)) return "busy";
	return group.lag_seconds > 3 * group.rpo_seconds ? "warn" : "good";
}

function Code({ onClose }: { onClose: () => void }) {
	const [code, setCode] = useState("");
	const action = useAction();
	return (
		<Dialog title={t("replica.code")} onClose={onClose}>
			<p class="prose">{t("replica.codeText")}</p>
			{code && <Snippet text={code} label={t("replica.code")} />}
			<Trouble problem={action.problem} />
			<div class="buttons">
				<Button onClick={onClose}>{t("action.close")}</Button>
				{!code && <Button kind="main" busy={action.busy} onClick={() => action.run(async () => setCode((await call<{ code: string }>("POST", "/replica/code", {})).code))}>{t("replica.codeGo")}</Button>}
			</div>
		</Dialog>
	);
}

function Pair({ onClose }: { onClose: () => void }) {
	const [address, setAddress] = useState("");
	const [code, setCode] = useState("");
	return (
		<FormDialog untried title={t("replica.pair")} button={t("replica.pair")} ready={address !== "" && code !== ""} onClose={onClose} submit={() => call("POST", "/replica/peers", { address: address.trim(), code: code.trim() })}>
			<p class="prose">{t("replica.pairText")}</p>
			<Input label={t("replica.address")} value={address} onValue={setAddress} placeholder="10.0.0.2" hint={t("replica.addressHint")} autoFocus />
			<Input label={t("replica.itsCode")} value={code} onValue={setCode} class="code" hint={t("replica.itsCodeHint")} />
		</FormDialog>
	);
}

/** A node that has moved; the certificate stays. */
function Move({ peer, onClose }: { peer: Peer; onClose: () => void }) {
	const was = `${peer.address.includes(":") ? `[${peer.address}]` : peer.address}:${peer.port}`;
	const [address, setAddress] = useState(was);
	return (
		<FormDialog title={t("replica.move", { name: peer.name })} button={t("action.save")} ready={address.trim() !== "" && address.trim() !== was} onClose={onClose} submit={async () => {
			await call("PATCH", `/replica/peers/${part(peer.uuid)}`, { address: address.trim() });
			notice(t("replica.moved", { name: peer.name }));
		}}>
			<p class="prose">{t("replica.moveText")}</p>
			<Input label={t("replica.address")} value={address} onValue={setAddress} hint={t("replica.moveHint")} autoFocus />
		</FormDialog>
	);
}

function Create({ peers, onClose }: { peers: Peer[]; onClose: () => void }) {
	const [name, setName] = useState("");
	const [members, setMembers] = useState<string[]>([]);
	const [peer, setPeer] = useState(peers[0]?.uuid ?? "");
	const [rpo, setRpo] = useState("5s");
	const [points, setPoints] = useState("0");
	const [seed, setSeed] = useState("wire");
	return (
		<FormDialog title={t("replica.create")} button={t("action.create")} ready={name !== "" && members.length > 0} onClose={onClose} submit={() => call("POST", "/replica/groups", { name, members, peer, rpo, points: points.trim() || "0", ...(seed !== "wire" && { seed }) })}>
			<Input label={t("field.name")} value={name} onValue={setName} autoFocus />
			<Select label={t("replica.peer")} value={peer} onValue={setPeer} options={peers.map((one) => [one.uuid, `${one.name} (${one.address})`])} />
			<Boxes chosen={members} onChange={setMembers} />
			<Input label={t("replica.rpo")} value={rpo} onValue={setRpo} hint={t("replica.rpoHint")} />
			<Input label={t("replica.pointsKept")} value={points} onValue={setPoints} hint={t("replica.pointsHint")} />
			<SeedBy value={seed} onValue={setSeed} />
		</FormDialog>
	);
}

type Step = "promote" | "demote" | "switchover" | "failback" | "delete";

function Act({ group, step, onClose }: { group: Group; step: Step; onClose: () => void }) {
	const words = { promote: t("replica.promote"), demote: t("replica.demote"), switchover: t("replica.switchover"), failback: t("replica.failback"), delete: t("action.delete") };
	const texts = { promote: t("replica.promoteText", { seconds: number(group.lag_seconds, 1) }), demote: t("replica.demoteText"), switchover: t("replica.switchoverText"), failback: t("replica.failbackText"), delete: t("replica.deleteText") };
	/* As its primary said last. */
	const newer = step !== "promote" ? "" : group.lag_bytes === undefined ? t("replica.newerUnknown") : t("replica.newer", { bytes: bytes(group.lag_bytes), seconds: number(group.lag_bytes_age_seconds ?? 0, 1) });
	return (
		<DeleteDialog title={`${words[step]}: ${group.name}`} name={group.name} button={words[step]} onClose={onClose} text={<><p>{texts[step]}</p>{newer && <p>{newer}</p>}</>} submit={async () => {
			await call("POST", pathOf(group), { action: step });
			notice(t("replica.done", { what: words[step] }));
		}} />
	);
}

/** What wants to be looked at; nothing when all is well. */
function Notes({ group }: { group: Group }) {
	return (
		<>
			{group.role === "standby" && group.promotable === false && <p class="hint">{t("replica.notYet")}</p>}
			{group.role === "fenced" && <p class="hint">{t("replica.fencedText")}</p>}
			{[group.points_trouble, group.addresses_trouble].filter(Boolean).map((text) => <p key={text} class="hint" lang="en">{text}</p>)}
			<PromotedNote group={group} />
			<UnderTest group={group} />
		</>
	);
}

type Open = Step | "members" | "settings" | "addresses" | "witness" | "points" | "test" | "seed" | null;

/** Who leads: changing sides. */
function Sides({ group, onOpen }: { group: Group; onOpen: (open: Open) => void }) {
	const paused = group.state === "paused";
	const doIt = (what: string, action: string) => act(what, "POST", pathOf(group), { action });
	return (
		<div class="buttons start">
			{group.role === "standby" && <Button kind="danger" disabled={group.promotable === false} onClick={() => onOpen("promote")}>{t("replica.promote")}</Button>}
			{group.role === "primary" && <Button onClick={() => onOpen("switchover")}>{t("replica.switchover")}</Button>}
			{(group.role === "primary" || group.role === "fenced") && <Button onClick={() => onOpen("demote")}>{t("replica.demote")}</Button>}
			{group.role === "fenced" && <Button onClick={() => onOpen("failback")}>{t("replica.failback")}</Button>}
			<Button onClick={() => doIt(paused ? t("replica.resumed") : t("replica.paused"), paused ? "resume" : "pause")}>{paused ? t("replica.resume") : t("replica.pause")}</Button>
			{group.role === "primary" && <Button onClick={() => doIt(t("replica.verifying"), "verify")}>{t("replica.verify")}</Button>}
			<Button kind="quiet" icon="trash" label={t("replica.delete", { name: group.name })} onClick={() => onOpen("delete")} />
		</div>
	);
}

/** What stays as it is while sides are not changed. */
function Care({ group, onOpen }: { group: Group; onOpen: (open: Open) => void }) {
	return (
		<div class="buttons start">
			{canReplicate() && group.role === "primary" && <>
				<Button onClick={() => onOpen("members")}>{t("replica.members")} …</Button>
				<Button onClick={() => onOpen("addresses")}>{t("replica.addresses")} …</Button>
				<Button role="admin" onClick={() => onOpen("witness")}>{t("replica.witness")} …</Button>
				<Button onClick={() => onOpen("settings")}>{t("replica.settings")} …</Button>
			</>}
			{waitsForSeed(group) && !group.seed.running && <Button role="admin" onClick={() => onOpen("seed")}>{t("seed.export")} …</Button>}
			<Button onClick={() => onOpen("points")}>{t("replica.points")} …</Button>
			{can("provisioner") && group.role === "standby" && <Button onClick={() => onOpen("test")}>{t("replica.test")} …</Button>}
		</div>
	);
}

function GroupCard({ group }: { group: Group }) {
	const [open, setOpen] = useState<Open>(null);
	const close = () => setOpen(null);
	return (
		<Card title={group.name} actions={<Badge tone={toneOf(group)}>{maybe(`replicastate.${group.state.replace(/ /g, "-")}`) ?? group.state}</Badge>}>
			<Facts rows={[
				[t("replica.role"), maybe(`replicarole.${group.role}`) ?? group.role],
				[t("replica.peer"), group.peer],
				[t("replica.lag"), t("replica.lagOf", { lag: duration(group.lag_seconds), rpo: duration(group.rpo_seconds) })],
				group.role === "standby" ? [t("replica.newerTitle"), group.lag_bytes === undefined ? t("replica.newerUnknownShort") : t("replica.newerShort", { bytes: bytes(group.lag_bytes), lag: duration(group.lag_bytes_age_seconds ?? 0) })] : group.lag_bytes !== undefined && [t("replica.waiting"), bytes(group.lag_bytes)],
				[t("replica.rate"), `${bytes(group.bytes_per_second)}/s`],
				[t("replica.members"), <span class="list mono">{group.members.map((one) => <span key={one}>{one}</span>)}</span>],
				group.addresses.length > 0 && [t("replica.addresses"), <span class="list mono">{group.addresses.map((one) => <span key={one.address}>{one.address}</span>)}</span>],
				group.points !== "0" && [t("replica.pointsKept"), <span class="mono">{group.points}</span>],
				group.witness.state !== "off" && [t("replica.witness"), witnessText(group)],
				group.role === "primary" && [t("replica.verified"), verifyText(group)],
				group.reason !== "" && group.reason !== group.state && [t("replica.reason"), <span lang="en">{group.reason}</span>],
			]} />
			<Notes group={group} />
			<SeedNow group={group} acts={can("admin")} />
			{canReplicate() && <Sides group={group} onOpen={setOpen} />}
			<Care group={group} onOpen={setOpen} />
			{open === "members" && <Members group={group} onClose={close} />}
			{open === "settings" && <Settings group={group} onClose={close} />}
			{open === "addresses" && <Addresses group={group} onClose={close} />}
			{open === "seed" && <Export group={group} onClose={close} />}
			{open === "witness" && <Witness group={group} onClose={close} />}
			{(open === "points" || open === "test") && <Points group={group} newest={open === "test"} onClose={close} />}
			{(open === "promote" || open === "demote" || open === "switchover" || open === "failback" || open === "delete") && <Act group={group} step={open} onClose={close} />}
		</Card>
	);
}

export function Replication() {
	const { data, problem } = useResource<Group[]>("/replica/groups");
	const peers = useResource<Peer[]>("/replica/peers").data ?? [];
	const [open, setOpen] = useState<"code" | "pair" | "create" | "seed" | null>(null);
	const [moving, setMoving] = useState<Peer | null>(null);
	const close = () => setOpen(null);
	return (
		<Page title={t("nav.replication")} lead={t("replica.lead")} actions={canReplicate() && peers.length > 0 && <>
			{data?.some((group) => group.role === "standby") && <Button role="admin" onClick={() => setOpen("seed")}>{t("seed.import")}</Button>}
			<Button icon="plus" onClick={() => setOpen("create")}>{t("replica.create")}</Button>
		</>}>
			<Card title={t("replica.peers")} actions={can("admin") && <div class="row-actions"><Button onClick={() => setOpen("code")}>{t("replica.code")}</Button><Button onClick={() => setOpen("pair")}>{t("replica.pair")}</Button></div>}>
				{peers.length === 0 ? <p class="none">{t("replica.noPeers")}</p> : (
					<ul class="connected">
						{peers.map((peer) => (
							<li key={peer.uuid}><div><span class="name">{peer.name}</span><small class="mono">{peer.address}:{peer.port}</small></div><div class="row-actions"><Button kind="quiet" role="admin" icon="edit" label={t("replica.move", { name: peer.name })} onClick={() => setMoving(peer)} /><Button kind="quiet" role="admin" icon="trash" label={t("replica.unpair", { name: peer.name })} onClick={() => actAsked(t("replica.unpair", { name: peer.name }), t("replica.unpaired"), "DELETE", `/replica/peers/${part(peer.uuid)}`)} /></div></li>
						))}
					</ul>
				)}
			</Card>
			{!data ? <Waiting problem={problem} /> : data.length === 0 ? (
				<Card><Empty icon="session" title={t("replica.none")} text={t("replica.noneText")} /></Card>
			) : <div class="grid">{data.map((group) => <GroupCard key={group.name} group={group} />)}</div>}
			{open === "code" && <Code onClose={close} />}
			{moving && <Move peer={moving} onClose={() => setMoving(null)} />}
			{open === "seed" && <Import onClose={close} />}
			{open === "pair" && <Pair onClose={close} />}
			{open === "create" && <Create peers={peers} onClose={close} />}
		</Page>
	);
}
