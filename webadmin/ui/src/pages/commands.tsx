// SPDX-License-Identifier: Apache-2.0
// What was done in this window, as requests of the API for a script of one's own.
import { done } from "../api";
import { clock } from "../format";
import { Card, Empty, Page, Snippet } from "../parts";
import { t } from "../text";
import { cliOf, curlOf } from "./cli";

export function Commands() {
	const list = [...done.value].reverse();
	return (
		<Page title={t("nav.commands")} lead={t("commands.lead")}>
			{list.length === 0 ? <Card><Empty icon="commands" title={t("commands.none")} text={t("commands.noneText")} /></Card> : (
				<Card>
					<p class="prose small">{t("commands.token")}</p>
					{list.map((one) => (
						<div key={one.id} class="command">
							<p class="small quiet"><time>{clock(one.at)}</time> · {one.method} <span class="mono">{decodeURIComponent(one.path)}</span></p>
							{cliOf(one) && <Snippet text={cliOf(one)!} label={`granary: ${one.method} ${one.path}`} />}
							<Snippet text={curlOf(one)} label={`${one.method} ${one.path}`} />
						</div>
					))}
				</Card>
			)}
		</Page>
	);
}
