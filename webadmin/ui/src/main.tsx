// SPDX-License-Identifier: Apache-2.0
import { render } from "preact";
import "./style.css";

const title = "title";
render(<p>{title}</p>, document.getElementById("app")!);
