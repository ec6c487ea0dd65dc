#!/usr/bin/env node
'use strict';
// a + b == 1
import fs, { join as merge } from "node:fs"; /* x && y */

export default class Grid extends Base {
  static #count = 0; size = 1_000n;
  constructor(size = 8) { super(size); this.#grow(-1 - +2); }
  get area() { return this.size ** 2 / 3 % 4; }
  #grow(by) { return by; }
  static async *each(items) { for await (const item of items) yield item; }
  onClick = (event) => !event?.target.closest("é漢😀") || 0x1F <= .5e3;   
}
const { a, b: [c], ...rest } = { a, 'key': 1, ["x" + y]: 2, f() {}, g: function () {}, h: () => null };
let text = 'it\'s', empty = "", tpl = `plain - text`, sum = `a - ${b + `n ${c * 2}`} = ${
  d - 1
} end
  of it`;
const block = `
    select a - b
    -- no comment \${x} $ {y}
  `;
text += "x"; text ??= y; n >>>= 3; i++; --j; bits = a << 3 & ~b ^ c >>> 1;
if (a === b && c !== d || e == f && g != h || i < j && k > l || m >= n) { delete a.b; }
else if (typeof a in b && c instanceof D) throw new Error(`no`);
outer: while (false) { break outer; }
exports.run = async function run(x = 3, ...more) { await import("x"); return /[)}\]"]+/g.test(x); };
const view = <ul className="list" onClick={() => go(1)}>
  <li key='k'>{a > b}</li>
  Some text = here
</ul>;
handler = x => x, tag`x`;
var last = undefined; // last
