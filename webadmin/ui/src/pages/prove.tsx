// SPDX-License-Identifier: Apache-2.0
// Does the storage below a pool keep its promises? Written, flushed and verified on a volume of its own.
import { useEffect, useState } from "preact/hooks";
import { call, isTrial, part } from "../api";
import { bytes, duration, number } from "../format";
import { Button, Dialog, Facts, FormDialog, Input, Progress } from "../parts";
import { t } from "../text";

interface Phase { operations_per_second: number; bytes_per_second: number; p99_us: number; flush_p50_us?: number; flush_p99_us?: number }
export interface Proof {
	pool: string; verdict: "good" | "suspicious" | "bad"; reason: string; verified_blocks: number; mismatches: number; errors: number; checksum_errors: number;
	sequential_write: Phase; random_write: Phase; write_and_flush: Phase; forced_write: Phase; verify: Phase;
}

const LONGEST = 600;
const took = (us: number) => us < 1000 ? `${number(us)} µs` : `${number(us / 1000, us < 10000 ? 2 : 0)} ms`;
const rate = (phase: Phase) => `${bytes(phase.bytes_per_second)}/s`;
const often = (phase: Phase) => t("prove.often", { count: number(phase.operations_per_second), time: took(phase.p99_us) });

/** How far it is, by the clock: it answers at its end. */
function Under({ began, seconds }: { began: number; seconds: number }) {
	const [now, setNow] = useState(Date.now());
	useEffect(() => {
		const timer = setInterval(() => setNow(Date.now()), 500);
		return () => clearInterval(timer);
	}, []);
	const gone = (now - began) / 1000, left = seconds - gone;
	return (
		<div class="field" role="status">
			<p class="small">{left > 0 ? t("prove.writing", { time: duration(Math.ceil(left)) }) : t("prove.verifying")}</p>
			<Progress value={Math.min(1, gone / seconds)} label={t("jobs.progress")} />
		</div>
	);
}

export function Prove({ pool, onClose, onProof }: { pool: string; onClose: () => void; onProof: (proof: Proof) => void }) {
	const [seconds, setSeconds] = useState("20");
	const [began, setBegan] = useState(0);
	const wanted = parseInt(seconds, 10), good = wanted >= 1 && wanted <= LONGEST;
	return (
		<FormDialog title={t("prove.title", { name: pool })} button={t("prove.start")} ready={good} onClose={onClose} submit={async () => {
			if (!isTrial()) setBegan(Date.now());
			try {
				onProof(await call<Proof>("POST", `/pools/${part(pool)}/prove`, { seconds: wanted }));
			} finally {
				setBegan(0);
			}
		}}>
			<p class="prose">{t("prove.text")}</p>
			<Input label={t("prove.seconds")} inputMode="numeric" value={seconds} onValue={(text) => setSeconds(text.replace(/\D/g, ""))} hint={t("prove.secondsHint")} problem={good ? null : t("prove.secondsBad", { most: LONGEST })} autoFocus />
			{began > 0 && <Under began={began} seconds={wanted} />}
		</FormDialog>
	);
}

export function Proven({ proof, onClose }: { proof: Proof; onClose: () => void }) {
	const { verdict } = proof, flush = proof.write_and_flush;
	return (
		<Dialog title={t("prove.result", { name: proof.pool })} onClose={onClose}>
			<div class={`verdict ${verdict === "good" ? "good" : verdict === "bad" ? "bad" : "warn"}`} role="status">
				<strong>{t(verdict === "good" ? "prove.good" : verdict === "bad" ? "prove.bad" : "prove.suspicious")}</strong>
				<p>{t(verdict === "good" ? "prove.goodText" : verdict === "bad" ? "prove.badText" : "prove.suspiciousText")}</p>
				{proof.reason && <p class="small" lang="en">{proof.reason}</p>}
			</div>
			<Facts rows={[
				[t("prove.verified"), t("prove.verifiedOf", { count: number(proof.verified_blocks), wrong: number(proof.mismatches) })],
				[t("prove.failed"), number(proof.errors)],
				[t("prove.sequential"), rate(proof.sequential_write)],
				[t("prove.read"), rate(proof.verify)],
				[t("prove.random"), often(proof.random_write)],
				[t("prove.forced"), often(proof.forced_write)],
				flush.flush_p50_us !== undefined && [t("prove.flush"), t("prove.flushOf", { half: took(flush.flush_p50_us), most: took(flush.flush_p99_us ?? 0) })],
			]} />
			<div class="buttons"><Button kind="main" onClick={onClose}>{t("action.close")}</Button></div>
		</Dialog>
	);
}
