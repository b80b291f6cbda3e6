// Fills in what java.util.Properties makes of the inputs in a table, for the tests of
// zk_std::config::properties. From this directory, with Java 17 (nothing to compile):
//
//     java PropertiesTable.java properties.txt > new && mv new properties.txt
//     java PropertiesTable.java --random 400 > properties-random.txt
//
// Lines of a table: `# comment` and blank lines are kept; `in BYTES` is a case, bytes written as
// themselves from 0x21 to 0x7e except the backslash, the rest as `\xNN`; `out KEY VALUE` (one for
// each property, sorted; UTF-16 units outside 0x21..0x7e and the backslash written as a backslash,
// `u` and four digits; the empty string is `\e`) or `err MESSAGE` are the answers, written here.
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Properties;
import java.util.Random;
import java.util.TreeSet;

public class PropertiesTable {
    public static void main(String[] args) throws Exception {
        if (args[0].equals("--random")) {
            random(Integer.parseInt(args[1]));
            return;
        }
        for (String line : Files.readAllLines(Path.of(args[0]))) {
            if (line.startsWith("in ")) {
                answer(line.substring(3));
            } else if (!line.startsWith("out ") && !line.startsWith("err ")) {
                System.out.println(line);
            }
        }
    }

    // Strings over the bytes that mean something to the format; the same every time.
    static void random(int cases) throws Exception {
        String[] tokens = {"a", "b", "k1", "=", ":", " ", "\t", "\f", "\n", "\r", "\r\n", "\\", "\\\\",
            "\\\n", "\\\r\n", "\\\r", "#", "!", "\\u0041", "\\u00e9", "\\u", "\\n", "\\t", "\\r", "\\f",
            "\\:", "\\=", "\\ ", "\\#", "\u00e9", "\u0000", "x", "\n", "\\\n "};
        Random random = new Random(20);
        System.out.println("# Random inputs; written by PropertiesTable.java --random " + cases);
        for (int i = 0; i < cases; i++) {
            StringBuilder text = new StringBuilder();
            int length = 1 + random.nextInt(24);
            for (int j = 0; j < length; j++) {
                text.append(tokens[random.nextInt(tokens.length)]);
            }
            StringBuilder in = new StringBuilder();
            for (byte b : text.toString().getBytes("ISO-8859-1")) {
                in.append(b > 0x20 && b < 0x7f && b != '\\' ? "" + (char) b : String.format("\\x%02x", b & 0xff));
            }
            answer(in.toString());
        }
    }

    static void answer(String in) throws Exception {
        System.out.println("in " + in);
        Properties properties = new Properties();
        try {
            properties.load(new ByteArrayInputStream(bytes(in)));
        } catch (IllegalArgumentException e) {
            System.out.println("err " + e.getMessage());
            return;
        }
        for (String key : new TreeSet<>(properties.stringPropertyNames())) {
            System.out.println("out " + shown(key) + " " + shown(properties.getProperty(key)));
        }
    }

    static byte[] bytes(String in) {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        for (int i = 0; i < in.length(); i++) {
            char c = in.charAt(i);
            if (c == '\\') {
                out.write(Integer.parseInt(in.substring(i + 2, i + 4), 16));
                i += 3;
            } else {
                out.write(c);
            }
        }
        return out.toByteArray();
    }

    static String shown(String s) {
        if (s.isEmpty()) {
            return "\\e";
        }
        StringBuilder out = new StringBuilder();
        for (char c : s.toCharArray()) {
            out.append(c > 0x20 && c < 0x7f && c != '\\' ? "" + c : String.format("\\u%04x", (int) c));
        }
        return out.toString();
    }
}
