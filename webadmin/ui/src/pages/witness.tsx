// SPDX-License-Identifier: Apache-2.0
// A third machine that grants a group's lease, so that its standby can take over by itself.
import { useState } from "preact/hooks";
import { call } from "../api";
import { bytes, duration, number, time } from "../format";
import { useResource } from "../live";
import { Check, FormDialog, Input, notice, Select } from "../parts";
import { t } from "../text";
import type { Group } from "../types";
import { pathOf } from "./replicasteps";

interface Peer { uuid: string; name: string; address: string; port: number }
interface Props { group: Group; onClose: () => void }

/** Who the witness is and how the lease stands. */
export function witnessText(group: Group): string {
	const { node, state, left_seconds, reason } = group.witness;
	const states = {
		off: t("replica.leaseOff"), held: t("replica.leaseHeld", { left: duration(left_seconds) }), waiting: t("replica.leaseWaiting"), taken: t("replica.leaseTaken"),
		taking: t("replica.leaseTaking"), standby: group.witness.answers ? t("replica.leaseStandby") : t("replica.witnessAway"),
	};
	return `${node}: ${states[state]}${reason ? ` (${reason})` : ""}`;
}

/** That this machine took over by itself, and as of when. */
export function PromotedNote({ group }: { group: Group }) {
	const took = group.promoted;
	if (!took || group.role !== "primary") return null;
	return <p class="hint">{t("replica.promotedText", { time: time(took.time_ms), as_of: time(took.as_of_ms), epoch: number(took.epoch), lost: bytes(took.lost_bytes) })}</p>;
}

function TurnOff({ group, onClose }: Props) {
	const [force, setForce] = useState(false);
	return (
		<FormDialog title={t("replica.witnessOf", { name: group.name })} button={t("replica.witnessOff")} kind="danger" onClose={onClose} submit={async () => {
			await call("POST", `${pathOf(group)}/witness`, { node: "", force });
			notice(t("replica.changed", { name: group.name }));
		}}>
			<p class="prose">{t("replica.witnessOffText")}</p>
			<Check label={t("replica.witnessForce")} value={force} onValue={setForce} />
			<p class="hint">{t("replica.witnessForceHint")}</p>
		</FormDialog>
	);
}

function TurnOn({ group, onClose }: Props) {
	const others = (useResource<Peer[]>("/replica/peers").data ?? []).filter((one) => one.uuid !== group.peer_uuid);
	const [node, setNode] = useState("");
	const [lease, setLease] = useState("15s");
	const chosen = node || others[0]?.uuid || "";
	return (
		<FormDialog title={t("replica.witnessOf", { name: group.name })} button={t("replica.witnessOn")} ready={chosen !== "" && lease.trim() !== ""} onClose={onClose} submit={async () => {
			await call("POST", `${pathOf(group)}/witness`, { node: chosen, lease: lease.trim() });
			notice(t("replica.changed", { name: group.name }));
		}}>
			<p class="prose">{t("replica.witnessText")}</p>
			{others.length === 0 ? <p class="none">{t("replica.witnessNone")}</p> : <Select label={t("replica.witness")} value={chosen} onValue={setNode} options={others.map((one) => [one.uuid, `${one.name} (${one.address}:${one.port})`])} />}
			<Input label={t("replica.lease")} value={lease} onValue={setLease} hint={t("replica.leaseHint")} />
		</FormDialog>
	);
}

export function Witness(props: Props) {
	return props.group.witness.state === "off" ? <TurnOn {...props} /> : <TurnOff {...props} />;
}
