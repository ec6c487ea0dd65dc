const List = <T,>({ items }: Props<T>) => (
  <ul className="list">
    {items.map((item: T) => <li key={item.id}>{item.count + 1}</li>)}
    Nothing - else
  </ul>
);
type Props<T> = { items: T[] }; // no
let n: number = 2 < 3 && true;
