// SPDX-License-Identifier: Apache-2.0

/** "10.1.2.3:4567" or "[::1]:4567" -> its bits and how many an address has; null: no address. */
function bits(text: string): { value: bigint; width: number } | null {
	const four = /^(\d+)\.(\d+)\.(\d+)\.(\d+)(?::\d+)?$/.exec(text);
	if (four) return { value: four.slice(1).reduce((sum, one) => (sum << 8n) | BigInt(one), 0n), width: 32 };
	const plain = text.replace(/^\[([^\]]*)\].*$/, "$1");
	const halves = plain.split("::");
	if (halves.length > 2 || !plain.includes(":")) return null;
	const left = halves[0] ? halves[0].split(":") : [];
	const right = halves.length > 1 && halves[1] ? halves[1].split(":") : [];
	const parts = halves.length === 1 ? left : [...left, ...Array(Math.max(0, 8 - left.length - right.length)).fill("0"), ...right];
	if (parts.length !== 8 || parts.some((one) => !/^[0-9a-f]{1,4}$/i.test(one))) return null;
	return { value: parts.reduce((sum, one) => (sum << 16n) | BigInt(`0x${one}`), 0n), width: 128 };
}

/** Is the address of @peer in @network ("10.0.0.0/24", "10.0.0.7")? */
export function covers(network: string, peer: string): boolean {
	const [base, length] = network.split("/");
	const a = bits(base), b = bits(peer);
	if (!a || !b || a.width !== b.width) return false;
	const shift = BigInt(a.width - (length === undefined ? a.width : parseInt(length, 10)));
	return a.value >> shift === b.value >> shift;
}
