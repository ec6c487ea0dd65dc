package traps; // x + y == 1;

import java.util.List;

/* "comment" -> a && b, 7 % 2 */
@SuppressWarnings(value = "unchecked")
class Traps<T extends Comparable<T>> {
    // é 漢 😀 before every span below
    static final String NAME = "é漢😀";   
	int tabbed = 0x1F_FF;	
    char quote = '\'', letter = 'ß', next;
    String empty = "", escaped = "a\n\"+\" b";

    List<List<T>> nested(Function<T, List<T>> f) {
        Runnable r = () -> run(-1 - +2);
        long bits = 1L << 3 >>> 1 & ~0b101;
        double d = 1_000.5e-3 * 07 / .5f % 0x1p3;
        boolean b = !true || d <= 1.0D && f != null; // == false
        if (b == false && bits > 2 | d < 3 || bits >= 4) {
            i++; --j;
            bits += 5; bits >>>= 6; x[7] = "é" + 'c' + bits;
        }
        label: for (int k = 0; k < 9; k -= -1) { }
        String text = """
            He said "hi"; a + b \n
              // no comment
            end""" + 10;
        return (List<List<T>>) null; /* last */ 
    }
}