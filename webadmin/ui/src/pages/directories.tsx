// SPDX-License-Identifier: Apache-2.0
// Directories of the machine that are exported, read-only: where whoever started the daemon allows it.
import { useState } from "preact/hooks";
import { call } from "../api";
import { useResource } from "../live";
import { Button, Card, FormDialog, Input, StateBadge, Table } from "../parts";
import { go, to } from "../route";
import { t } from "../text";
import type { Directory, Status } from "../types";

function Add({ places, onClose }: { places: string[]; onClose: () => void }) {
	const [path, setPath] = useState(`${places[0].replace(/\/$/, "")}/`);
	const [name, setName] = useState("");
	return (
		<FormDialog title={t("directories.add")} button={t("directories.add")} ready={name !== "" && path.startsWith("/")} onClose={onClose} submit={async () => {
			await call("POST", "/directories", { name, path });
			go("shares", name);
		}}>
			<Input label={t("directories.path")} value={path} onValue={setPath} hint={t("directories.pathHint", { places: places.join(", ") })} autoFocus />
			<Input label={t("field.name")} value={name} onValue={setName} hint={t("directories.nameHint")} />
		</FormDialog>
	);
}

export function Directories() {
	const data = useResource<Directory[]>("/directories").data ?? [];
	const places = useResource<Status>("/status").data?.daemon.directories_in ?? [];
	const [adding, setAdding] = useState(false);
	if (data.length === 0 && places.length === 0) return null;
	return (
		<Card flush title={t("directories.title")} actions={places.length > 0 && <Button role="admin" icon="plus" onClick={() => setAdding(true)}>{t("directories.add")}</Button>}>
			{data.length === 0 ? <p class="none">{t("directories.none")}</p> : (
				<Table caption={t("directories.title")} rows={data} id={(row) => row.name} columns={[
					{ key: "name", title: t("field.name"), text: (row) => row.name, show: (row) => <a class="name" href={to("shares", row.name)}>{row.name}</a> },
					{ key: "path", title: t("directories.path"), text: (row) => row.path, show: (row) => <span class="mono">{row.path}</span> },
					{ key: "state", title: t("field.state"), text: (row) => row.state, show: (row) => <><StateBadge state={row.state} /> <span lang="en">{row.reason}</span></> },
				]} />
			)}
			{adding && <Add places={places} onClose={() => setAdding(false)} />}
		</Card>
	);
}
