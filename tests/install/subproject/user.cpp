#include <asterias/asterias.h>
int main() {}
