import type { Shape } from "./shape";
declare module "m" { export function area(s: Shape): number; }
export abstract class Box<T extends Shape> extends Base implements Sized<Map<string, T>> {
  private readonly width: number = 1;
  static #count = 2;
  constructor(protected height = 3, public depth?: number) { super(); }
  abstract volume(): number;
  get<K extends keyof T>(key: K): T[K] { return <T[K]>this.items!.find((x) => x > 1)!; }
  onChange = (value: Array<Array<T>>): void => {};
}
interface Named { readonly name: string; rename(to: string): this; }
type Pair<A, B = A> = [A, B] | { kind: 'pair' } | `id-${string}`;
enum Color { Red = 1, Green = "g" }
namespace Inner.Deep { let x = y as unknown as number; }
function isNamed(x: any): x is Named { return x satisfies Named && f<number>(x) < 2; }
let maybe: A extends (infer U)[] ? U : never = true ? -1 : +2; // last
