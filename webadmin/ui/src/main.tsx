// SPDX-License-Identifier: Apache-2.0
import { render } from "preact";
import { en } from "./en";
import { zh } from "./zh";
import "./style.css";

const text: Record<keyof typeof en, string> = navigator.language.startsWith("zh") ? zh : en;

function Page() {
	return (
		<main>
			<h1>{text["title"]}</h1>
			<p>{text["serves"]}</p>
			<p>{text["pages"]}</p>
			<p><a href="/api/v1/openapi.json">{text["document"]}</a></p>
		</main>
	);
}

render(<Page />, document.getElementById("app")!);
