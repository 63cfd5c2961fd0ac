// SPDX-License-Identifier: Apache-2.0
// The door: the first account, or signing in.
import { useState } from "preact/hooks";
import { call, me, problemOf, setupNeeded, type Me } from "./api";
import { Mark } from "./icons";
import { Button, Input, Trouble, useAction } from "./parts";
import { Switches } from "./shell";
import { t } from "./text";

function FirstStart() {
	const [code, setCode] = useState("");
	const [name, setName] = useState("admin");
	const [password, setPassword] = useState("");
	const [again, setAgain] = useState("");
	const action = useAction();
	const short = password !== "" && new TextEncoder().encode(password).length < 10;
	const differs = again !== "" && again !== password;
	const ready = code.trim() !== "" && name !== "" && password !== "" && again === password && !short;
	return (
		<form onSubmit={(event) => {
			event.preventDefault();
			if (ready) void action.run(async () => {
				const made = await call<Me>("POST", "/setup", { code: code.trim(), name, password });
				setupNeeded.value = false;
				me.value = made;
			});
		}}>
			<h1>{t("setup.title")}</h1>
			<p class="lead">{t("setup.text")}</p>
			<Input label={t("setup.code")} hint={<>{t("setup.codeHint")} <code>granary setup code</code></>} placeholder="XXXX-XXXX-XXXX" class="code" autocapitalize="characters" value={code} onValue={setCode} autoFocus />
			<Input label={t("entry.name")} autocomplete="username" value={name} onValue={setName} />
			<Input label={t("entry.password")} type="password" autocomplete="new-password" value={password} onValue={setPassword} hint={t("setup.passwordHint")} problem={short ? t("setup.short") : null} />
			<Input label={t("setup.again")} type="password" autocomplete="new-password" value={again} onValue={setAgain} problem={differs ? t("setup.differs") : null} />
			<Trouble problem={action.problem} />
			<Button kind="main" submit busy={action.busy} disabled={!ready}>{t("setup.go")}</Button>
		</form>
	);
}

function SignIn() {
	const [name, setName] = useState("");
	const [password, setPassword] = useState("");
	const [code, setCode] = useState("");
	const [asked, setAsked] = useState(false);
	const action = useAction();
	const submit = () => action.run(async () => {
		try {
			me.value = await call<Me>("POST", "/login", asked ? { name, password, code: code.trim() } : { name, password });
		} catch (error) {
			const problem = problemOf(error);
			if (problem.code !== "totp_needed") throw problem;
			setAsked(true);
		}
	});
	return (
		<form onSubmit={(event) => { event.preventDefault(); void submit(); }}>
			<h1>{t("entry.title")}</h1>
			<Input label={t("entry.name")} autocomplete="username" value={name} onValue={setName} autoFocus />
			<Input label={t("entry.password")} type="password" autocomplete="current-password" value={password} onValue={setPassword} />
			{asked && <Input label={t("entry.code")} autocomplete="one-time-code" value={code} onValue={setCode} autoFocus />}
			<Trouble problem={action.problem} />
			<Button kind="main" submit busy={action.busy} disabled={!name || !password || (asked && !code)}>{t("entry.go")}</Button>
		</form>
	);
}

export function Entry() {
	return (
		<div class="entry">
			<main class="door">
				<div class="brand"><Mark /> Granary</div>
				{setupNeeded.value ? <FirstStart /> : <SignIn />}
			</main>
			<Switches />
		</div>
	);
}
