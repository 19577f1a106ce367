/* USDT probes whose arguments are where the assembler texts say. */
#define _SDT_HAS_SEMAPHORES 1
#include <sys/sdt.h>

unsigned short demo_none_semaphore __attribute__((section(".probes")));
unsigned short demo_counted_semaphore __attribute__((section(".probes")));

/* The note of a probe as sdt.h writes it, with arguments of our own. */
#define NOTE(name, arguments, semaphore)                              \
	__asm__ volatile("990: nop\n"                                 \
			 ".pushsection .note.stapsdt,\"\",\"note\"\n" \
			 ".balign 4\n"                                \
			 ".4byte 992f-991f, 994f-993f, 3\n"           \
			 "991: .asciz \"stapsdt\"\n"                  \
			 "992: .balign 4\n"                           \
			 "993: .8byte 990b\n"                         \
			 ".8byte _.stapsdt.base\n"                    \
			 ".8byte " semaphore "\n"                     \
			 ".asciz \"demo\"\n.asciz \"" name "\"\n"     \
			 ".asciz \"" arguments "\"\n"                 \
			 "994: .balign 4\n"                           \
			 ".popsection\n")

int main(void)
{
	STAP_PROBE(demo, none);
	STAP_PROBE1(demo, counted, 3);
	NOTE("all", "8@%rdi -4@%ecx 2@%ax -1@%dl 8@$-9 -4@-20(%rbp) 8@(%rsi) 4@0x10(%r12)", "0");
	NOTE("indexed", "8@(%rax,%rbx,8)", "0");
	NOTE("global", "4@counter(%rip)", "0");
	NOTE("odd", "3@%rax", "0");
	NOTE("many", "1@$1 1@$2 1@$3 1@$4 1@$5 1@$6 1@$7 1@$8 1@$9 1@$10 1@$11 1@$12 1@$13", "0");
	NOTE("outside", "1@$1", "0x7fffffff0000");
	return 0;
}
