/* A program with known functions for test-resolver.c; with -DLIBRARY, a library of two versions of
 * one. */
int probe_me(int x);
int other_probe(int x);

#ifdef LIBRARY
int versioned_old(int x);
int versioned_new(int x);
__asm__(".symver versioned_old, versioned@V_1");
__asm__(".symver versioned_new, versioned@@V_2");
int versioned_old(int x)
{
	return x + 1;
}
int versioned_new(int x)
{
	return x + 2;
}
#else
static int hidden_helper(int x)
{
	return x * 3;
}
int (*volatile helper)(int) = hidden_helper;
int main(void)
{
	return probe_me(1) + other_probe(2) + helper(0) == 0;
}
#endif

int probe_me(int x)
{
	return x + 7;
}
int other_probe(int x)
{
	return x - 7;
}
