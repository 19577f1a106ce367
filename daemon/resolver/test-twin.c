/* Linked twice into one program, so that it holds two local functions of one name. */
static int twin(int x)
{
	return x * SCALE;
}
int (*volatile TWIN)(int) = twin;
