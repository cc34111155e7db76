with recursive below(id) as (
  select c.id from product_category c where c.id = any($1)
   union
  select c.id from below b join product_category c on c.parent = b.id
)
select p.id
  from product_product p
 where p.id = any($1) or p.template = any($1)
    or exists (select from "product_template-product_category" tc
                where tc.template = p.template and tc.category in (select id from below))
{{#images}}
    or p.template in (select template from product_image where id = any($1))
{{/images}}
