package shop.stock;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** What a shop has on its shelves. */
public class Inventory {
    private static final int MINIMUM_COUNT = 10;

    private final Map<String, Item> items = new HashMap<>();
    private final String owner;
    private boolean closed = false;

    public Inventory(String owner) {
        if (owner == null) {
            throw new IllegalArgumentException("owner is null");
        }
        this.owner = owner;
    }

    public String getOwner() {
        return owner;
    }

    public boolean isClosed() {
        return closed;
    }

    public void add(String name, int count, double price) {
        if (closed) {
            throw new IllegalStateException("inventory is closed");
        }
        Item item = items.get(name);
        if (item == null) {
            item = new Item(name, price);
            items.put(name, item);
        }
        item.count += count;
    }

    public boolean remove(String name, int count) {
        Item item = items.get(name);
        if (item == null || item.count < count) {
            return false;
        }
        item.count -= count;
        return true;
    }

    public double totalPrice() {
        double total = 0;
        for (Item item : items.values()) {
            total += item.count * item.price;
        }
        return total;
    }

    public List<Item> missing() {
        List<Item> missing = new ArrayList<>();
        for (Map.Entry<String, Item> entry : items.entrySet()) {
            Item item = entry.getValue();
            if (item.count < MINIMUM_COUNT && !closed) {
                missing.add(item);
            }
        }
        return missing;
    }

    public void close() {
        closed = true;
        items.clear();
    }

    @Override
    public String toString() {
        StringBuilder builder = new StringBuilder();
        builder.append("Inventory of ").append(owner).append(": ");
        for (Item item : items.values()) {
            builder.append(item.name).append(" x ").append(item.count).append('\n');
        }
        return builder.toString();
    }

    static final class Item {
        private final String name;
        private final double price;
        private int count;

        Item(String name, double price) {
            this.name = name;
            this.price = price;
        }

        @Override
        public boolean equals(Object other) {
            if (!(other instanceof Item)) {
                return false;
            }
            Item that = (Item) other;
            return name.equals(that.name) && count == that.count;
        }

        @Override
        public int hashCode() {
            return 31 * name.hashCode() + count;
        }
    }
}
