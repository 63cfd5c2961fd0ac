// SPDX-License-Identifier: Apache-2.0
// SHA-256 (FIPS 180-4) piece by piece: the browser's own takes all of a file at once, and images
// are larger than memory.
const K = new Uint32Array(64);
const START = new Uint32Array(8);

/** The first 32 bits of the fraction of @root. */
const fraction = (root: number) => ((root - Math.floor(root)) * 2 ** 32) | 0;

(() => {
	let found = 0;
	for (let number = 2; found < 64; number++) {
		let prime = true;
		for (let by = 2; by * by <= number; by++) if (number % by === 0) prime = false;
		if (!prime) continue;
		if (found < 8) START[found] = fraction(Math.sqrt(number));
		K[found++] = fraction(Math.cbrt(number));
	}
})();

export class Sha256 {
	private readonly state = new Uint32Array(START);
	private readonly words = new Uint32Array(64);
	private readonly rest = new Uint8Array(64);
	private kept = 0;
	private length = 0;

	private block(data: Uint8Array, at: number) {
		const w = this.words, s = this.state;
		for (let i = 0; i < 16; i++, at += 4) w[i] = (data[at] << 24) | (data[at + 1] << 16) | (data[at + 2] << 8) | data[at + 3];
		for (let i = 16; i < 64; i++) {
			const x = w[i - 15], y = w[i - 2];
			w[i] = w[i - 16] + w[i - 7] + (((x >>> 7) | (x << 25)) ^ ((x >>> 18) | (x << 14)) ^ (x >>> 3)) + (((y >>> 17) | (y << 15)) ^ ((y >>> 19) | (y << 13)) ^ (y >>> 10));
		}
		let a = s[0], b = s[1], c = s[2], d = s[3], e = s[4], f = s[5], g = s[6], h = s[7];
		for (let i = 0; i < 64; i++) {
			const one = (h + (((e >>> 6) | (e << 26)) ^ ((e >>> 11) | (e << 21)) ^ ((e >>> 25) | (e << 7))) + ((e & f) ^ (~e & g)) + K[i] + w[i]) | 0;
			const two = ((((a >>> 2) | (a << 30)) ^ ((a >>> 13) | (a << 19)) ^ ((a >>> 22) | (a << 10))) + ((a & b) ^ (a & c) ^ (b & c))) | 0;
			h = g; g = f; f = e; e = (d + one) | 0; d = c; c = b; b = a; a = (one + two) | 0;
		}
		s[0] += a; s[1] += b; s[2] += c; s[3] += d; s[4] += e; s[5] += f; s[6] += g; s[7] += h;
	}

	update(data: Uint8Array): this {
		let at = 0;
		this.length += data.length;
		if (this.kept) {
			at = Math.min(64 - this.kept, data.length);
			this.rest.set(data.subarray(0, at), this.kept);
			this.kept += at;
			if (this.kept < 64) return this;
			this.block(this.rest, 0);
			this.kept = 0;
		}
		for (; at + 64 <= data.length; at += 64) this.block(data, at);
		this.rest.set(data.subarray(at));
		this.kept = data.length - at;
		return this;
	}

	/** Of what there is so far, on the side. */
	copy(): Sha256 {
		const other = new Sha256();
		other.state.set(this.state);
		other.rest.set(this.rest);
		other.kept = this.kept;
		other.length = this.length;
		return other;
	}

	/** 64 hex digits; nothing can be added afterwards. */
	hex(): string {
		const bits = this.length * 8, end = new Uint8Array(this.kept < 56 ? 64 - this.kept : 128 - this.kept);
		end[0] = 0x80;
		new DataView(end.buffer).setUint32(end.length - 8, Math.floor(bits / 2 ** 32));
		new DataView(end.buffer).setUint32(end.length - 4, bits >>> 0);
		this.update(end);
		return [...this.state].map((word) => word.toString(16).padStart(8, "0")).join("");
	}
}
